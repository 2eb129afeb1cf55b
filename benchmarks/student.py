"""Teacher against student through TensorFlow Serving's C++ loader, on the same real sentences.

    python -m benchmarks.student
    python -m benchmarks.student --teacher exports/teacher --student exports/student

The process that measures has no Python TensorFlow, as a model server has none. Strings go in, probabilities come out:
tokenising is part of the time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import click

from benchmarks.pairs import in_turn
from benchmarks.results import Result, command
from serving import SavedModel
from tfmodels import datasets
from tfmodels.errors import UserError

_OUTPUT = "output/text_classification"
_ROOT = Path(__file__).resolve().parents[1]


def measure(
    quick: bool = False,
    teacher: str | None = None,
    student: str | None = None,
    output: str = _OUTPUT,
    pairs: int = 7,
    texts: int = 256,
) -> list[Result]:
    """Teacher against student through TensorFlow Serving's C++ loader: how many times as long the teacher takes.

    The exports are those named, or those of the last run in OUTPUT, or, where there is none, models of the recipe's
    sizes with random weights, which are as fast as trained ones.
    """
    pairs, texts = (min(pairs, 3), min(texts, 64)) if quick else (pairs, texts)
    if (teacher is None) != (student is None):
        raise UserError("--teacher and --student go together: give both or none.")
    with tempfile.TemporaryDirectory() as folder:
        if teacher is not None:
            note = ""
        elif (found := _last_run(Path(output))) is not None:
            teacher, student = found
            note = f"The models of the run in {output}."
        else:
            teacher, student = _made(Path(folder))
            note = f"There is no finished run in {output}: these are models of the recipe's sizes with random weights."
        return _compared(Path(teacher), Path(student), pairs, texts, note)


def _compared(teacher: Path, student: Path, pairs: int, count: int, note: str) -> list[Result]:
    cards = [json.loads((export / "model_card.json").read_text(encoding="utf-8")) for export in (teacher, student)]
    parameters = [card["parameters"] for card in cards]
    results = [
        Result(
            "parameters, teacher's / student's",
            parameters[0] / parameters[1],
            at_least=7.5,
            first=f"student {parameters[1]:,}",
            second=f"teacher {parameters[0]:,}",
            note=note,
        )
    ]
    texts = [review.text for review in datasets.movie_reviews() if review.split == "test"][:count]
    with SavedModel(teacher) as big, SavedModel(student) as small:
        for size, what in ((1, "one text at a time"), (32, "batches of 32")):
            requests = [{"text": texts[start : start + size]} for start in range(0, len(texts), size)]
            times = in_turn(partial(_ask, small, requests), partial(_ask, big, requests), pairs, warmups=1)
            results.append(Result.of_pairs(f"{what}, {len(texts)} texts", times, "student", "teacher", at_least=9.4))
    return results


def _ask(model: SavedModel, requests: list) -> None:
    for inputs in requests:
        model.run(inputs)


def _last_run(output: Path) -> tuple[str, str] | None:
    """The exports of a finished run, if they are still there."""
    path = output / "results.json"
    if not path.is_file():
        return None
    models = json.loads(path.read_text(encoding="utf-8"))["models"]
    exports = models["teacher"]["export"], models["student"]["export"]
    return exports if all(Path(export).is_dir() for export in exports) else None


def _made(folder: Path) -> tuple[Path, Path]:
    """Exports with random weights, made by another process: this one stays without Python TensorFlow."""
    code = f"from benchmarks.student import make_exports; make_exports({str(folder)!r})"
    process = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"the exports could not be made:\n{process.stderr}")
    return folder / "teacher", folder / "student"


def make_exports(folder: str) -> None:
    """Writes `teacher` and `student` into a folder: the recipe's sizes, random weights."""
    import tfmodels
    from pipelines.text_classification.configs import StudentConfig
    from serving import export_savedmodel
    from tfmodels.layers import MeanPooling
    from tfmodels.models import TextClassifier
    from tfmodels.text import TextPreprocessor, WordPieceTokenizer

    preprocessor = TextPreprocessor(WordPieceTokenizer(datasets.minilm() / "vocab.txt"))
    recipe = StudentConfig()
    backbones = {
        "teacher": tfmodels.create_model("minilm_l6"),
        "student": tfmodels.create_model(recipe.preset, **{"max_sequence_length": 128, **recipe.overrides}),
    }
    for name, backbone in backbones.items():
        task = TextClassifier(backbone, 2, pooling=MeanPooling())
        export_savedmodel(task, Path(folder) / name, preprocessor=preprocessor, labels=["negative", "positive"])


main = command(
    measure,
    click.option("--teacher", metavar="DIR", help="An exported model."),
    click.option("--student", metavar="DIR", help="An exported model."),
    click.option("--output", default=_OUTPUT, show_default=True, metavar="DIR", help="The folder of a finished run."),
    click.option("--pairs", default=7, show_default=True, type=click.IntRange(1), help="How often each is timed."),
    click.option("--texts", default=256, show_default=True, type=click.IntRange(1), help="How many reviews."),
)

if __name__ == "__main__":
    main()
