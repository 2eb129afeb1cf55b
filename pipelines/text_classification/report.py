"""A run's results in the form that `pipelines.reports` draws."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipelines.reports import Attention, ModelResults, RunResults

_PACKAGES = ("tfx", "tensorflow", "keras", "tensorflow-text", "apache-beam", "numpy")


def run_results(results: Mapping, created: str) -> RunResults:
    """The report's input.

    Args:
        results: What the job found; see `job`.
        created: When, for people to read.
    """
    table, config = results["table"], results["config"]
    models, attention = [], []
    for name, figures in results["models"].items():
        run = Path(figures["run"])
        history = json.loads((run / "history.json").read_text(encoding="utf-8"))
        texts = json.loads((run / "test_texts.json").read_text(encoding="utf-8"))
        with np.load(run / "predictions.npz", allow_pickle=False) as arrays:
            arrays = dict(arrays)
        models.append(
            ModelResults(
                name=name,
                probabilities=_softmax(arrays["test_logits"]),
                description=config["teacher"]["source"] if name == "teacher" else config["student"]["preset"],
                parameters=figures["parameters"],
                bytes=figures["bytes"],
                latency=figures["latency"],
                history=history["history"],
                fit_seconds=figures["fit_seconds"],
            )
        )
        if "attention" in arrays:
            attention.append(Attention(name, texts["attention_pieces"], arrays["attention"]))
    pushed = results["pushed"]
    verdict = (
        f"The student reached its bounds and was pushed as version {pushed['version']}."
        if pushed
        else f"The student was not pushed. {' '.join(results['refused'])}"
    )
    answers = results["answers"]
    return RunResults(
        labels=table["classes"],
        y_true=arrays["test_labels"],
        models=models,
        title=f"Text classification: {Path(table['source']).name}",
        verdict=verdict,
        texts=[row if table["pairs"] else row[0] for row in texts["texts"]],
        slices=texts["slices"],
        class_counts=table["counts"],
        token_lengths={split: arrays[f"{split}_tokens"] for split in table["counts"]},
        sequence_length=config["text"]["sequence_length"],
        attention=attention,
        sentences=results["sentences"] if answers else (),
        answers=np.asarray(answers["probabilities"]) if answers else None,
        data={
            "source": table["source"],
            "rows": table["rows"],
            "duplicate rows": table["duplicate_rows"],
            "texts under several labels": table["conflicting_texts"],
            "texts in several splits": table["crossing_texts"],
            "incomplete rows left out": table["skipped_rows"],
        },
        warnings=results["warnings"],
        config={name: config[name] for name in ("text", "teacher", "student", "evaluation", "serving")},
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        component_seconds=results["seconds"]["components"],
        facts={"created": created, "machine": platform.platform()},
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return exponents / exponents.sum(axis=-1, keepdims=True)
