"""The teacher, wherever another run left it, as a Model artifact of the layout that `components.model_artifact` tells.

It may be the output folder of a run of text classification (its teacher) or of a student of this pipeline (that
student), a Model artifact or the Keras folder in one, a classifier in Hugging Face's layout, of which an artifact is
made, or the latest model that every Evaluator has blessed in the metadata that this pipeline shares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tfmodels.errors import UserError
from tfmodels.files import atomic_directory

BLESSED = "blessed"
_KEPT_LENGTH = 128
# What a model in Hugging Face's layout consists of; optimizer states and the like may lie beside it.
_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
_WANTED = "give a run of text_classification, a Keras/ folder of one, or a classifier in Hugging Face's layout"


class Teacher(NamedTuple):
    """A teacher that was found.

    Attributes:
        artifact: The folder of its Model artifact.
        labels: Its classes, in the order of its outputs.
        task: The `TextClassifier`.
        preprocessor: Its `TextPreprocessor`.
        fingerprint: A hash of its weights, preprocessor and labels.
    """

    artifact: Path
    labels: tuple[str, ...]
    task: object
    preprocessor: object
    fingerprint: str


def locate(source: str) -> Path:
    """The folder of a teacher's Model artifact, or of its Hugging Face layout: quick, without reading any model.

    Raises:
        UserError: There is nothing of the kind.
    """
    folder = Path(source).resolve()
    if not folder.is_dir():
        raise UserError(f"there is no teacher {source}: {_WANTED}.")
    if (folder / "results.json").exists():
        return _of_run(folder)
    if (folder / "model.keras").exists():
        folder = folder.parent
    if (folder / "Keras" / "model.keras").exists():
        if not (folder / "Format-Serving" / "assets" / "labels.txt").exists():
            raise UserError(
                f"{folder}/Keras has no export beside it, in Format-Serving/, that names its classes: {_WANTED}."
            )
        return folder
    if (folder / "config.json").exists():
        return folder
    raise UserError(f"{folder} holds no model: {_WANTED}.")


def _of_run(folder: Path) -> Path:
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        role = "student" if results.get("pipeline") == "distillation" else "teacher"
        artifact = Path(results["models"][role]["export"]).parent
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}/results.json is of no run that made a classifier: {_WANTED}.") from error
    if not (artifact / "Keras" / "model.keras").exists():
        raise UserError(f"{folder}/results.json says that the {role} is in {artifact}, where it is not: run it again.")
    return artifact


def find_teacher(located: Path, output: Path, *, pairs: bool, sequence_length: int | None, labels: Sequence[str] = ()):
    """Reads a teacher, or makes an artifact of one in Hugging Face's layout, once for every content.

    Args:
        located: What `locate` found.
        output: The run's folder; an artifact that is made lies in `output/teacher`.
        pairs: Whether the table's rows are pairs of texts.
        sequence_length: tokens; None is as many as the teacher's preprocessor reads, or 128 where it has none.
        labels: What to call the teacher's classes, in its order.

    Returns:
        The `Teacher`.

    Raises:
        UserError: The folder has no classifier, or one of other inputs, or the labels do not fit it.
    """
    from pipelines.components.model_artifact import load_keras
    from tfmodels.models import TextClassifier

    if (located / "Keras").is_dir():
        artifact = located
    else:
        artifact = _imported(located, output, pairs, sequence_length or _KEPT_LENGTH)
    task, preprocessor = load_keras(str(artifact / "Keras"))
    if not isinstance(task, TextClassifier):
        raise UserError(f"{located} holds a {type(task).__name__}, and a teacher is a classifier of texts: {_WANTED}.")
    if preprocessor.pair != pairs:
        takes, has = ("pairs of texts", "single ones") if preprocessor.pair else ("single texts", "pairs")
        raise UserError(
            f"the teacher takes {takes} and the table has {has}: "
            + ("give --text-pair-column." if preprocessor.pair else "leave --text-pair-column out.")
        )
    longest = task.backbone.max_length
    if sequence_length is not None and longest is not None and sequence_length > longest:
        raise UserError(f"the teacher takes at most {longest} tokens: give --sequence-length {longest} or less.")
    own = (artifact / "Format-Serving" / "assets" / "labels.txt").read_text(encoding="utf-8").splitlines()
    if labels and len(labels) != len(own):
        raise UserError(f"--teacher-labels names {len(labels)} classes and the teacher has {len(own)}: {_shown(own)}.")
    named = tuple(labels or own)
    digest = hashlib.sha256(json.dumps(named).encode())
    for file in sorted((artifact / "Keras").iterdir()):
        _add_file(digest, file)
    return Teacher(artifact, named, task, preprocessor, digest.hexdigest()[:16])


def agreed_labels(teacher: Sequence[str], table: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The classes of a student: the teacher's, in its order, whatever the order of the table's.

    Args:
        teacher: The teacher's classes.
        table: The table's.

    Returns:
        The classes, and sentences that a user should read.

    Raises:
        UserError: The table has a class that the teacher does not know.
    """
    unknown = [label for label in table if label not in teacher]
    if unknown:
        raise UserError(
            f"the table's class{'es' if len(unknown) > 1 else ''} {_shown(unknown)} "
            f"{'are' if len(unknown) > 1 else 'is'} none of the teacher's, which are {_shown(teacher)}: take a teacher "
            "of these classes, or say by --teacher-labels what the table calls the teacher's, in the teacher's order."
        )
    notes = []
    absent = [label for label in teacher if label not in table]
    if absent:
        notes.append(f"The table has no rows of {_shown(absent)}, which the teacher knows: they are not tested.")
    if [label for label in teacher if label in table] != list(table):
        notes.append(f"The classes are numbered as the teacher does it: {_shown(teacher)}.")
    return tuple(teacher), notes


def check_tokenizer(teacher, student_folder: Path) -> None:
    """Makes sure that a pretrained student reads texts as its teacher does.

    Args:
        teacher: The teacher's `TextPreprocessor`.
        student_folder: The student's folder in Hugging Face's layout.

    Raises:
        UserError: Their tokenisers, or the formats of their rows, differ.
    """
    from pipelines.text_classification.sources import tokenizer_of
    from tfmodels.distillation import check_compatible
    from tfmodels.text import TextPreprocessor

    tokenizer, form = tokenizer_of(student_folder)
    check_compatible(TextPreprocessor(tokenizer, teacher.sequence_length, teacher.pair, format=form), teacher)


def _imported(folder: Path, output: Path, pairs: bool, sequence_length: int) -> Path:
    """The Model artifact of a classifier in Hugging Face's layout."""
    import tfmodels
    from pipelines.components.model_artifact import save_keras
    from pipelines.text_classification.sources import tokenizer_of
    from serving import export_savedmodel
    from tfmodels.interop import hf_config
    from tfmodels.models import TextClassifier
    from tfmodels.text import TextPreprocessor

    longest = getattr(hf_config(folder), "max_sequence_length", None)
    length = min(sequence_length, longest or sequence_length)
    digest = hashlib.sha256(json.dumps([pairs, length]).encode())
    for file in sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES):
        _add_file(digest, file)
    artifact = output / "teacher" / digest.hexdigest()[:16]
    if artifact.exists():
        return artifact
    task = tfmodels.from_hf(folder)
    if not isinstance(task, TextClassifier):
        raise UserError(
            f"{folder} holds a {type(task).__name__} without a head for classes: fine-tune it first, by "
            f"tfmodels run text_classification --teacher {folder}."
        )
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = {int(number): name for number, name in (values.get("id2label") or {}).items()}
    labels = [names.get(number, f"LABEL_{number}") for number in range(task.settings["num_classes"])]
    tokenizer, form = tokenizer_of(folder)
    preprocessor = TextPreprocessor(tokenizer, length, pair=pairs, format=form)
    with atomic_directory(artifact) as partial:
        save_keras(task, preprocessor, str(partial / "Keras"))
        card = {"name": "teacher", "description": f"A text classifier from {folder.name}."}
        export_savedmodel(task, partial / "Format-Serving", preprocessor=preprocessor, labels=labels, card=card)
    return artifact


def _add_file(digest, file: Path) -> None:
    digest.update(f"\0{file.name}\0".encode())
    with open(file, "rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)


def _shown(labels: Sequence[str], most: int = 6) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(repr(label[:40]) for label in labels[:most]) + more
