"""`tfmodels compare`: runs side by side."""

import json

import pytest
from click.testing import CliRunner
from matplotlib import image

from pipelines.reports.comparison import Compared, _front, read_models
from tfmodels.cli import main
from tfmodels.errors import UserError


def figures(export, accuracy, parameters, ms):
    return {
        "accuracy": accuracy,
        "macro_f1": accuracy - 0.01,
        "rows": 1000,
        "parameters": parameters,
        "bytes": 4 * parameters,
        "latency": {
            "1": {"median_ms": ms, "rows_per_second": 1e3 / ms},
            "32": {"median_ms": ms, "rows_per_second": 2e3 / ms},
        },
        "export": export,
    }


TEACHER = figures("/runs/teacher", 0.9, 20_000_000, 8.0)


def write_run(folder, student, teacher=TEACHER, rows=500, preset="bert_tiny", source="minilm"):
    folder.mkdir(parents=True)
    results = {
        "table": {"source": "films.csv", "counts": {"test": {"bad": rows, "good": rows}}},
        "config": {"student": {"preset": preset}, "teacher": {"source": source} if source else {"artifact": "/runs"}},
        "models": {"teacher": teacher, "student": student},
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def runs(tmp_path):
    """A run, and two students of a distillation from its teacher."""
    write_run(tmp_path / "films", figures("/runs/small", 0.85, 2_000_000, 1.0))
    for name, accuracy, parameters in (("mini", 0.87, 3_000_000), ("tiny", 0.8, 2_500_000)):
        student = figures(f"/runs/{name}", accuracy, parameters, 0.5)
        write_run(tmp_path / "distilled" / "students" / name, student, preset=f"bert_{name}", source=None)
    return tmp_path


def compare(*arguments):
    result = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    return result.exit_code, result.output


def test_models_are_listed_best_first_and_a_shared_teacher_once(runs):
    models = read_models([str(runs / "films"), str(runs / "distilled")])
    assert [(model.name, model.accuracy) for model in models] == [
        ("films: teacher (minilm)", 0.9),
        ("distilled/mini: student (bert_mini)", 0.87),
        ("films: student (bert_tiny)", 0.85),
        ("distilled/tiny: student (bert_tiny)", 0.8),
    ]
    assert models[1].per_second == 4000 and models[1].milliseconds == 0.5 and models[1].megabytes == 12
    assert models[0].error == pytest.approx((0.9 * 0.1 / 1000) ** 0.5)
    # A student's own folder is a run, and one that is named twice is one.
    again = read_models([str(runs / "distilled" / "students" / "mini"), str(runs / "distilled")])
    assert [model.name.split(":")[0] for model in again] == ["distilled/mini"] * 2 + ["distilled/tiny"]


def test_a_teacher_that_was_tested_on_other_rows_is_told_apart(runs):
    write_run(runs / "other", figures("/runs/other", 0.7, 100_000, 0.1), rows=7)
    code, text = compare(runs / "films", runs / "other", "--picture", runs / "p.png")
    assert code == 0 and "tested on different rows" in text
    assert len(read_models([str(runs / "films"), str(runs / "other")])) == 4


def test_the_line_joins_models_that_none_beats_at_their_cost(runs):
    models = read_models([str(runs / "films"), str(runs / "distilled")])
    assert _front(models, "parameters") == [(2_000_000, 0.85), (3_000_000, 0.87), (20_000_000, 0.9)]
    assert _front(models, "milliseconds") == [(0.5, 0.87), (8.0, 0.9)]
    assert isinstance(models[0], Compared)


def test_the_command_prints_a_table_and_draws_a_picture(runs):
    picture = runs / "pictures" / "all.png"
    code, text = compare(runs / "films", runs / "distilled", "--picture", picture)
    assert code == 0 and "tested on different rows" not in text
    for part in ("90.0 ± 0.9 %", "20,000,000", "2,000,000", "8.00", "4,000"):
        assert part in text
    pixels = image.imread(picture)
    assert pixels.shape[1] > 1000 and pixels.std() > 0.05
    code, text = compare(runs / "films", "--json", "--picture", picture)
    assert [row["role"] for row in json.loads(text)] == ["teacher", "student"]


def test_one_model_or_many_of_one_name_are_drawn(runs):
    for number in range(9):
        student = figures(f"/runs/{number}", 0.5, 1000, 0.1)
        write_run(runs / f"{number}" / "films", student, teacher=student)
    code, _ = compare(*(runs / f"{number}" / "films" for number in range(9)), "--picture", runs / "p.png")
    assert code == 0
    names = [model.name for model in read_models([str(runs / f"{number}" / "films") for number in range(9)])]
    assert len(set(names)) == 9 and "films: teacher (minilm) #2" in names
    assert compare(runs / "0" / "films", "--picture", runs / "p.png")[0] == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no folder"),
        ("", "is no finished run of text_classification or distillation, as it has no results.json"),
        ("{", "is of no run of text_classification or distillation"),
        ('{"judgement": {"loss": 4.0}}', "is of no run of text_classification or distillation (KeyError: 'table')"),
        ("[]", "is of no run of text_classification or distillation"),
    ],
)
def test_a_folder_that_is_no_run_is_told_in_one_sentence(tmp_path, content, sentence):
    folder = tmp_path / "run"
    if content is not None:
        folder.mkdir()
        if content:
            (folder / "results.json").write_text(content)
    with pytest.raises(UserError) as error:
        read_models([str(folder)])
    assert sentence in str(error.value)
    code, text = compare(folder, "--picture", tmp_path / "p.png")
    assert code == 2 and text.startswith("Error: ") and not (tmp_path / "p.png").exists()


def test_help_says_what_a_run_is():
    code, text = compare("--help")
    assert code == 0 and "students/NAME" in text and "Example:" in text
