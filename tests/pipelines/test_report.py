"""The report: one page that shows everything, loads nothing, runs nothing, and survives any text."""

import dataclasses
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from pipelines.reports import Attention, ModelResults, RunResults, plots, report, sections, write_report
from pipelines.reports.markup import duration, plain, significant
from pipelines.reports.measured import measure
from tfmodels import metrics
from tfmodels.errors import UserError

_SENTENCE = (
    *("[CLS]", "the", "plot", "is", "thin", ",", "but", "the", "actors", "carry", "it"),
    *("fur", "##ther", "than", "you", "hoped", ".", "[SEP]"),
)
_WORDS = (
    "a",
    "the",
    "film",
    "plot",
    "actors",
    "was",
    "not",
    "very",
    "good",
    "bad",
    "thin",
    "slow",
    "warm",
    "and",
    "but",
)
_TOPICS = ["business", "health", "politics", "science", "sport", "travel", "weather", "cinema", "music", "law"]


def sample_run(classes: int = 2, rows: int = 1000, seed: int = 0, **changes) -> RunResults:
    """Results as a run might have them: a good teacher, and a student that is nearly as good and much smaller."""
    random = np.random.default_rng(seed)
    labels = (
        ["negative", "positive"] if classes == 2 else [*_TOPICS, *(f"topic {n}" for n in range(11, 1000))][:classes]
    )
    prior = np.ones(classes) if classes == 2 else np.linspace(3, 1, classes)
    y_true = random.choice(classes, size=rows, p=prior / prior.sum())
    hardness = random.normal(size=(rows, classes))

    def probabilities(skill, sharpness):
        logits = (
            (skill + 0.3 * np.log(classes / 2)) * np.eye(classes)[y_true]
            + 0.8 * hardness
            + 0.6 * random.normal(size=(rows, classes))
        )
        exponents = np.exp(sharpness * logits)
        return exponents / exponents.sum(axis=1, keepdims=True)

    def history(epochs, best, distilled=False):
        steps = np.arange(1, epochs + 1)
        rising = best - (best - 1 / classes) * 0.5 * np.exp(-0.5 * steps)
        figures = {
            "loss": 0.7 * np.exp(-0.35 * steps) + 0.05,
            "accuracy": np.minimum(rising + 0.015 * steps, 0.995),
            "val_loss": 0.45 - 0.1 * np.exp(-steps) + 0.012 * steps,
            "val_accuracy": rising + 0.006 * random.normal(size=epochs),
        }
        if distilled:
            figures |= {"soft_labels": figures["loss"] / 2, "val_soft_labels": figures["val_loss"] / 2}
        return {name: values.tolist() for name, values in figures.items()}

    def latency(one, batch):
        return {
            "1": {"median_ms": one, "p99_ms": 1.4 * one, "rows_per_second": 1000 / one},
            "32": {"median_ms": batch, "p99_ms": 1.2 * batch, "rows_per_second": 32_000 / batch},
        }

    def attention(model, layers, heads):
        scores = 2 * random.normal(size=(layers, heads, len(_SENTENCE), len(_SENTENCE)))
        scores += 3 * np.stack([np.eye(len(_SENTENCE), k=n % 3 - 1) for n in range(heads)])
        weights = np.exp(scores)
        return Attention(model, _SENTENCE, weights / weights.sum(axis=-1, keepdims=True))

    words = random.integers(3, 60, size=rows)
    teacher = ModelResults(
        "teacher",
        probabilities(1.5, 1.3),
        "MiniLM, fine-tuned",
        parameters=22_713_986,
        bytes=91_200_000,
        latency=latency(9.8, 121.0),
        history={"fine-tuning": history(3, 0.85)},
        fit_seconds=312.0,
    )
    student = ModelResults(
        "student",
        probabilities(1.25, 2.2),
        "2 layers, distilled",
        parameters=2_258_306,
        bytes=9_400_000,
        latency=latency(0.93, 8.7),
        history={"intermediate layers": history(4, 0.74, True), "predictions": history(8, 0.825, True)},
        fit_seconds=145.0,
    )
    counts = {
        split: {label: int(share * total) for label, share in zip(labels, prior / prior.sum())}
        for split, total in (("train", 8568), ("validation", 1000), ("test", rows))
    }
    values = {
        "labels": labels,
        "y_true": y_true,
        "models": [teacher, student],
        "title": "Movie reviews: a student distilled from MiniLM" if classes == 2 else "News by topic",
        "verdict": "The student reached its bounds and passed the serving gate; it was pushed as version 1795505726.",
        "texts": [" ".join(random.choice(_WORDS, size=n)).capitalize() + "." for n in words],
        "class_counts": counts,
        "token_lengths": {"train": random.gamma(6, 5, size=8568).astype(int) + 3, "test": words + 2},
        "sequence_length": 64,
        "attention": [attention("teacher", 6, 12), attention("student", 2, 2)],
        "sentences": ["A gripping, beautifully acted film that stays with you.", "Not a single laugh."],
        "answers": random.dirichlet(np.full(classes, 0.3), size=2),
        "data": {"source": "movie_reviews.jsonl", "rows": 10_568, "duplicate rows": 12},
        "warnings": ["12 rows repeat the text of an earlier row."],
        "config": {"text": {"sequence_length": 64}, "student": {"stages": [{"epochs": 4}, {"epochs": 8}]}},
        "versions": {"tensorflow": "2.16.2", "keras": "3.12.4", "tfx": "1.16.0"},
        "component_seconds": {
            "ImportExampleGen": 3.4,
            "StatisticsGen": 6.1,
            "SchemaGen": 0.3,
            "ExampleValidator": 0.4,
            "Transform": 14.2,
            "Trainer.teacher": 331.0,
            "Trainer.student": 161.0,
            "Evaluator.teacher": 12.8,
            "ServingGate": 8.8,
            "Pusher": 0.1,
        },
        "facts": {"created": "2026-11-24 07:40 UTC", "command": "make run", "machine": "2 cores, AMD EPYC"},
    }
    return RunResults(**{**values, **changes})


_VOID = {"meta", "link", "br", "hr", "img", "input", "base"}
_HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "</style></title></textarea></svg><b>bold</b>",
    "]]> <!-- &amp; &lt;i&gt; -->",
    "$x^2$ \\frac{1}{2} {{7*7}} %s",
    "这部电影非常好看 😀👩‍👩‍👧",
    "שלום זה סרט טוב",
    "\x00\x07\u202eevil\ud800\ufffe",
    "x" * 5000,
    "javascript:alert(1)",
)


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, its text, and every reference to something else."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.open: list[str] = []
        self.texts_of: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == [], "elements that were never closed"

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in <{tag}>"
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
            self.texts_of.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        for tag in set(self.open):
            self.texts_of[tag][-1] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def references(self) -> list[str]:
        names = {"src", "href", "xlink:href", "action", "poster", "data", "srcset", "background"}
        found = [value for _, attributes in self.elements for name, value in attributes.items() if name in names]
        written = " ".join(value or "" for _, attributes in self.elements for value in attributes.values())
        return found + re.findall(r"url\(\s*['\"]?([^)'\"]*)", written + "".join(self.texts_of["style"]))


def hostile_run() -> RunResults:
    """Results in which every text that a user or a model may have written is an attack or a rarity."""
    run = sample_run(5)
    labels = [*_HOSTILE[:3], *_HOSTILE[5:7]]
    rename = dict(zip(run.labels, labels))
    models = [
        dataclasses.replace(model, name=name, description=_HOSTILE[1], history={_HOSTILE[0]: {"loss": [0.5, 0.4]}})
        for model, name in zip(run.models, (_HOSTILE[2], _HOSTILE[6]))
    ]
    return dataclasses.replace(
        run,
        labels=labels,
        models=models,
        texts=[_HOSTILE[row % len(_HOSTILE)] for row in range(len(run.y_true))],
        slices=[_HOSTILE[row % 7] for row in range(len(run.y_true))],
        class_counts={split: {rename[k]: n for k, n in counts.items()} for split, counts in run.class_counts.items()},
        attention=[Attention(_HOSTILE[0], _HOSTILE, np.full((1, 2, 11, 11), 1 / 11))],
        title=_HOSTILE[1],
        verdict=_HOSTILE[3],
        split=_HOSTILE[0],
        sentences=[(_HOSTILE[0], _HOSTILE[7]), _HOSTILE[2]],
        data={_HOSTILE[0]: _HOSTILE[1]},
        warnings=_HOSTILE,
        config={_HOSTILE[0]: {_HOSTILE[2]: [_HOSTILE[1]]}},
        versions={_HOSTILE[0]: _HOSTILE[3]},
        component_seconds={_HOSTILE[0]: 1.0, _HOSTILE[6]: 2.0},
        facts={_HOSTILE[4]: _HOSTILE[1]},
    )


def minimal_run(**changes) -> RunResults:
    model = ModelResults("model", [[0.6, 0.4], [0.3, 0.7], [0.8, 0.2]])
    return RunResults(**{"labels": ["no", "yes"], "y_true": [0, 1, 1], "models": [model], **changes})


_RUNS = {"2 classes": sample_run, "5 classes": lambda: sample_run(5), "hostile": hostile_run, "minimal": minimal_run}


@pytest.fixture(scope="module")
def pages():
    """Every kind of page as (text, parsed), rendered once."""
    texts = {name: report.render(make()) for name, make in _RUNS.items()}
    return {name: (text, Page(text)) for name, text in texts.items()}


@pytest.fixture(params=_RUNS)
def any_page(request, pages):
    return pages[request.param]


# What a page may hold.


def test_a_page_loads_nothing_from_anywhere(any_page):
    _, page = any_page
    assert [r for r in page.references if not r.startswith(("#", "data:image/png;base64,"))] == []
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "img", "base"}
    assert [v for _, attributes in page.elements for v in attributes.values() if v and "://" in v] == []
    policy = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy[0].startswith("default-src 'none'") and "script-src" not in policy[0]


def test_references_inside_a_page_lead_somewhere(any_page):
    _, page = any_page
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    assert [r for r in page.references if r.startswith("#") and r[1:] not in ids] == []


def test_texts_of_users_are_text_and_never_markup(pages):
    _, page = pages["hostile"]
    assert not {tag for tag, _ in page.elements} & {"script", "img", "i"}
    assert [a for _, a in page.elements if any(name.startswith("on") for name in a)] == []
    for text in _HOSTILE[:5]:
        assert plain(text) in " ".join(page.text.split()), text
    assert "bold" not in page.texts_of.get("b", [])


def test_other_scripts_and_formulas_stand_in_tables_and_plots(pages):
    _, page = pages["hostile"]
    for text in (_HOSTILE[6], "$x^2$"):
        assert any(text in cell for cell in page.texts_of["td"] + page.texts_of["th"])
        assert any(text in label for label in page.texts_of["text"]), text
    assert any(_HOSTILE[7] in text for text in page.texts_of["bdi"])


def test_characters_that_break_pages_are_replaced(pages):
    text, page = pages["hostile"]
    text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ufffe]", text)
    assert "\ufffd\ufffdevil\ufffd" in page.text


def test_a_long_text_is_cut(pages):
    text, _ = pages["hostile"]
    assert "x" * 1001 not in text
    assert "x" * 299 + "…" in text
    assert len(text) < 600_000


# What readers and their programs need.


def test_every_plot_is_described_and_every_table_is_labelled(any_page):
    _, page = any_page
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert len(svg["aria-label"]) > 20
    tables = page.all("table")
    assert len(page.all("caption")) == len(tables)
    assert all(head["scope"] in ("col", "row", "colgroup") for head in page.all("th"))
    scrolled = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert len(scrolled) == len(tables) and all(a["tabindex"] == "0" for a in scrolled)
    assert [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2")][:2] == [1, 2]
    assert page.all("html")[0]["lang"] == "en"


def test_plots_take_every_colour_from_the_page(any_page):
    text, page = any_page
    plots_text = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert re.findall(r"(?:fill|stroke):\s*(?!none|var\()[^;\"]+", plots_text) == []
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    for block in _schemes().values():
        assert used <= set(block)
    assert page.all("svg")


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_letters_and_lines_stand_out_from_the_page(scheme):
    colors = _schemes()[scheme]
    for name in ("ink", "muted", "series-1", "series-2", "series-3", "series-4", "good", "bad", "link"):
        assert _contrast(colors[name], colors["paper"]) >= 4.5, name


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_numbers_stand_out_from_the_cells_of_a_matrix(scheme):
    colors = _schemes()[scheme]
    paper = np.array([int(colors["paper"][i : i + 2], 16) for i in (1, 3, 5)])
    for hue in (plots.HIT, plots.MISS):
        cell = plots.DEEPEST * 255 * np.array(hue) + (1 - plots.DEEPEST) * paper
        assert _contrast(colors["ink"], "#" + "".join(f"{round(part):02x}" for part in cell)) >= 4.5


def _schemes() -> dict[str, dict[str, str]]:
    style = (Path(report.__file__).parent / "report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    return {
        name: dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for name, block in zip(("light", "dark", "print"), blocks, strict=True)
    }


def _contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


# What a page says.


@pytest.mark.parametrize("kind", ["2 classes", "5 classes"])
def test_a_full_run_has_every_plot_that_people_look_for(pages, kind):
    _, page = pages[kind]
    said = " ".join(svg["aria-label"] for svg in page.all("svg"))
    for plot in (
        "rows of each class in the train split",
        "histogram of tokens",
        "loss of the teacher",
        "accuracy of the student",
        "Confusion matrix of the teacher",
        "Confusion matrix of the student",
        "Reliability diagram of the student",
        "ROC curves",
        "Precision and recall curves",
        "Accuracy by slice",
        "Accuracy against latency",
        "Attention map, layer 1",
        "Seconds by component",
    ):
        assert plot in said, plot
    assert "left out" not in page.text


def test_the_summary_tells_what_was_kept_and_what_was_gained(pages):
    run = sample_run()
    accuracies = [metrics.accuracy(run.y_true, m.probabilities.argmax(1)) for m in run.models]
    _, page = pages["2 classes"]
    kept = f"{100 * accuracies[1] / accuracies[0]:.1f} %"
    assert f"keeps {kept} of the teacher’s accuracy on 1,000 test rows" in page.text
    assert "10.1 × fewer parameters, and answers 10.5 × faster." in page.text
    for accuracy in accuracies:
        assert f"{100 * accuracy:.1f} %" in page.text
    for figure in ("22.7 million", "2.26 million", "91.2 MB", "9.4 MB", "9.8 ms", "0.93 ms", "9.7 × smaller"):
        assert figure in page.text, figure


def test_a_student_that_is_worse_is_called_worse():
    run = minimal_run()
    timed = dataclasses.replace(run.models[0], parameters=100, latency={"1": {"median_ms": 1.0}})
    slow = dataclasses.replace(timed, name="slow", parameters=250, latency={"1": {"median_ms": 4.0}})
    run = dataclasses.replace(run, models=[timed, slow])
    assert "with 2.5 × more parameters, and answers 4 × slower" in sections.headline(run, measure(run))


def test_the_figures_of_every_class_are_those_of_the_metrics(pages):
    run = sample_run(5)
    student = run.models[1].probabilities
    scores = metrics.class_scores(run.y_true, student.argmax(1), 5)
    areas = metrics.one_vs_rest(metrics.roc_auc, run.y_true, student)
    _, page = pages["5 classes"]
    cells = page.texts_of["td"]
    row = [f"{v:.3f}" for v in (scores.precision[2], scores.recall[2], scores.f1[2], areas[2])]
    assert any(cells[i : i + 4] == row for i in range(len(cells)))


def test_the_most_confident_mistakes_come_first(pages):
    run = sample_run()
    student = run.models[1].probabilities
    wrong = np.flatnonzero(student.argmax(1) != run.y_true)
    worst = wrong[np.argmax(student.max(1)[wrong])]
    _, page = pages["2 classes"]
    table = page.text[page.text.index("The student’s most confident mistakes") :]
    assert table.index(run.texts[worst]) == min(table.index(t) for t in np.array(run.texts)[wrong] if t in table)


def test_the_best_epoch_is_the_one_that_fit_keeps():
    history = {"first": {"val_accuracy": [0.99]}, "second": {"val_accuracy": [0.8, 0.9, 0.9, 0.7]}}
    model = dataclasses.replace(minimal_run().models[0], history=history)
    assert "best epoch, 4," in report.render(minimal_run(models=[model]))


def test_what_was_not_recorded_is_left_out_in_a_line(pages):
    _, page = pages["minimal"]
    for part in (
        "Class balance",
        "Length of the texts",
        "Learning curves of the model",
        "Accuracy by slice",
        "Accuracy against latency",
        "Attention",
        "Mistakes",
        "Time by component",
        "Versions",
        "Configuration",
    ):
        assert re.search(rf"{part}: left out, as [^.]+\.", page.text), part
    assert len(page.all("svg")) == 4  # the confusion matrix, calibration, ROC, precision and recall


@pytest.mark.parametrize(
    "changes",
    [
        {"y_true": [0, 0, 0]},
        {"models": [ModelResults("sure", [[1, 0], [0, 1], [0, 1]])]},
        {"texts": ["", " ", "\n"]},
        {"class_counts": {"train": {"no": 0, "yes": 0}}},
        {"token_lengths": {"train": [3], "test": []}, "sequence_length": 2},
        {"token_lengths": {"train": [5, 100_000]}, "sequence_length": 128},
        {"component_seconds": {"cached": 0.0}},
        {"models": [ModelResults("m", [[0.5, 0.5]] * 3, history={"s": {"loss": [0.5], "accuracy": []}, "t": {}})]},
        {"models": [ModelResults("m", [[0.5, 0.5]] * 3, history={"s": {"loss": [float("nan"), 1.0]}})]},
        {"models": [ModelResults("m", [[0.5, 0.5]] * 3, bytes=0, parameters=0, latency={"8": {"median_ms": 2.0}})]},
        {"models": [ModelResults(str(n), [[0.5, 0.5]] * 3, latency={"1": {"median_ms": n}}) for n in range(1, 7)]},
        {"labels": ["no", "yes", "maybe"], "models": [ModelResults("m", [[0.2, 0.3, 0.5]] * 3)]},
        {"attention": [Attention("m", ["[CLS]"], np.ones((8, 8, 1, 1)))]},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_odd_but_possible_results_give_a_report(changes):
    Page(report.render(minimal_run(**changes)))


def test_a_matrix_of_many_classes_shows_the_most_confused_and_sums_the_others():
    random = np.random.default_rng(0)
    matrix = random.integers(0, 3, size=(60, 60))
    matrix[:5] += 50
    shown, names = plots._most_confused(matrix, [f"class {n}" for n in range(60)])
    assert shown.sum() == matrix.sum()
    assert names[:5] == [f"class {n}" for n in range(5)]
    assert names[-1] == "30 others" and shown.shape == (31, 31)
    np.testing.assert_array_equal(shown[:5, :5], matrix[:5, :5])


def test_forty_classes_stay_legible():
    page = Page(report.render(sample_run(40, rows=500, attention=[], class_counts={})))
    assert len(page.all("details")) == 5  # the long table of classes waits to be opened
    sizes = [float(size) for label in page.all("text") for size in re.findall(r"font-size:([\d.]+)px", label["style"])]
    assert min(sizes) >= 9


# Writing and reading.


def test_equal_results_give_equal_bytes(tmp_path, pages):
    path = write_report(minimal_run().to_dict(), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == pages["minimal"][0]


def test_a_report_that_fails_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "new folder" / "report.html"
    assert write_report(minimal_run(), path) == path
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_text", _full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_report(minimal_run(title="another"), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["report.html"]


def _full_disk(self, text, **_):
    self.write_bytes(text[:100].encode())
    raise OSError(28, "No space left on device")


def test_plotting_leaves_matplotlib_as_it_was(pages):
    assert matplotlib.rcParams["svg.fonttype"] == matplotlib.rcParamsDefault["svg.fonttype"]


def test_a_report_needs_neither_tensorflow_nor_keras(tmp_path):
    code = (
        "import sys; from pipelines.reports import *;"
        "early = {'matplotlib'} & set(sys.modules);"
        "write_report(RunResults(['a', 'b'], [0, 1], [ModelResults('m', [[.6, .4], [.3, .7]])]), sys.argv[1]);"
        "print(early | {'keras', 'tensorflow', 'tfx', 'pandas', 'scipy', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "report.html")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "set()"


@pytest.mark.parametrize("make", [sample_run, hostile_run, minimal_run])
def test_saved_results_come_back_equal(tmp_path, make):
    run = make()
    loaded = RunResults.load(run.save(tmp_path / "results"))
    one, other = run.to_json(), loaded.to_json()
    if make is not hostile_run:  # a lone surrogate has no form in UTF-8
        assert one[0] == other[0]
    for name, array in one[1].items():
        np.testing.assert_array_equal(array, other[1][name])
    assert loaded.models[0].probabilities.dtype == np.float64


def test_saved_results_are_reported_again_from_the_command_line(tmp_path):
    from click.testing import CliRunner

    from pipelines.reports.__main__ import main

    minimal_run().save(tmp_path / "results")
    result = CliRunner().invoke(main, [str(tmp_path / "results"), str(tmp_path / "report.html")])
    assert result.exit_code == 0 and (tmp_path / "report.html").exists()
    result = CliRunner().invoke(main, [str(tmp_path / "nothing"), str(tmp_path / "report.html")])
    assert result.exit_code == 2 and "holds no results of a run" in result.output


def test_damaged_results_are_a_mistake_that_is_named(tmp_path):
    run = minimal_run()
    run.save(tmp_path / "results")
    (tmp_path / "results" / "results.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UserError, match="damaged"):
        RunResults.load(tmp_path / "results")
    run.save(tmp_path / "results")
    (tmp_path / "results" / "results.json").write_text('{"labels": [}')
    with pytest.raises(UserError, match="damaged"):
        RunResults.load(tmp_path / "results")


class _Harmful:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_among_the_arrays_are_refused_and_never_run(tmp_path):
    run = minimal_run()
    run.save(tmp_path / "results")
    harm = str(tmp_path / "harm")
    arrays = {**run.to_json()[1], "y_true": np.array([_Harmful(harm), 1, 1], dtype=object)}
    np.savez(tmp_path / "results" / "results.npz", **arrays)
    with pytest.raises(UserError, match="damaged"):
        RunResults.load(tmp_path / "results")
    assert not os.path.exists(harm)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_true": []}, "at least one evaluated row"),
        ({"models": []}, "one model"),
        ({"y_true": [0, 1, 2]}, "between 0 and 1"),
        ({"models": [ModelResults("m", [[0.5, 0.5]])]}, r"must be \[3, 2\]"),
        ({"texts": ["one"]}, "texts must have a value for each of the 3 rows"),
        ({"answers": [[0.5, 0.5]]}, r"answers must be \[0, 2\]"),
    ],
)
def test_results_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        minimal_run(**changes)


def test_a_name_that_is_no_field_is_refused():
    with pytest.raises(ValueError, match="accuracies"):
        RunResults.from_dict({**minimal_run().to_dict(), "accuracies": 1})
    with pytest.raises(ValueError, match="NaN"):
        ModelResults("m", [[np.nan, 1]])
    with pytest.raises(ValueError, match=r"\[K, N, 2, 2\]"):
        Attention("m", ["a", "b"], np.ones((1, 1, 3, 3)))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (1, "1"),
        (22_713_986, "22,700,000"),
        (999.6, "1,000"),
        (9.996, "10"),
        (0.04567, "0.0457"),
        (-1.5, "-1.5"),
    ],
)
def test_numbers_have_three_digits_that_matter(number, text):
    assert significant(number) == text


def test_durations_are_told_in_the_units_of_people():
    assert [duration(s) for s in (0.04, 42.4, 59.7, 187, 7260)] == ["0.0 s", "42 s", "60 s", "3 min 07 s", "2 h 01 min"]
