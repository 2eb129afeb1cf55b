"""What a pipeline has found that holds a student against its teacher: this one's, and `pipelines.distillation`'s."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipelines.components.evaluation import read_metrics, refusals
from pipelines.components.versions import pushed_version
from pipelines.text_classification.proof import ProofJob, prove

_TIMED_TEXTS = 128


def outcome(
    outputs: dict,
    *,
    teacher: str,
    teacher_run: str | None,
    serving: str,
    name: str,
    sentences: Sequence[str] | None = None,
) -> dict:
    """Serves and times the models, and gathers every figure as plain values.

    Args:
        outputs: What the components of the run put out, see `components.metadata.latest_run`.
        teacher: The teacher's Model artifact.
        teacher_run: Its ModelRun artifact; None where the teacher was trained elsewhere.
        serving: The folder of versions.
        name: The model's name in requests.
        sentences: What to ask the pushed model; None takes texts of the test split.

    Returns:
        `models` ("teacher" and "student" -> figures), `ratios`, `gate`, `pushed` (see `pushed_version`), `refused`
        (sentences that say why nothing was pushed), `sentences`, `answers` (see `proof.prove`) and `artifacts`.
    """
    evaluation = outputs["Evaluator.teacher"]["evaluation"].uri
    student = outputs["Trainer.student"]
    exports = {"teacher": f"{teacher}/Format-Serving", "student": f"{student['model'].uri}/Format-Serving"}
    runs = {"teacher": teacher_run, "student": student["model_run"].uri}
    pushed = pushed_version(outputs["Pusher"]["pushed_model"], serving)
    texts = json.loads((Path(runs["student"]) / "test_texts.json").read_text(encoding="utf-8"))["texts"]
    texts = [row if len(row) > 1 else row[0] for row in texts[:_TIMED_TEXTS]]
    sentences = texts[:4] if sentences is None else list(sentences)
    proof = prove(
        ProofJob(
            serving=None if pushed is None else serving,
            version=None if pushed is None else pushed["version"],
            model_name=name,
            exports=exports,
            sentences=sentences,
            texts=texts,
        )
    )
    models = {}
    for model, role in (("teacher", "baseline"), ("student", "candidate")):
        whole, *slices = read_metrics(evaluation, role)
        card = json.loads((Path(exports[model]) / "model_card.json").read_text(encoding="utf-8"))
        models[model] = {
            "accuracy": whole["accuracy"],
            "macro_f1": whole["macro_f1"],
            "auc": whole.get("auc"),
            "rows": int(whole["example_count"]),
            "slices": slices,
            "parameters": card["parameters"],
            "bytes": sum(path.stat().st_size for path in Path(exports[model]).rglob("*") if path.is_file()),
            "latency": proof["latency"][model],
            "fit_seconds": 0.0 if runs[model] is None else _history(runs[model])["fit_seconds"],
            "export": exports[model],
            "run": runs[model],
        }
    gate = json.loads((Path(outputs["ServingGate"]["blessing"].uri) / "gate_report.json").read_text(encoding="utf-8"))
    reasons = refusals(evaluation, "the teacher")
    if "Evaluator.predecessor" in outputs:
        reasons += refusals(outputs["Evaluator.predecessor"]["evaluation"].uri, "the latest blessed model")
    reasons += [f"Serving gate: {problem}" for problem in gate["problems"]]
    return {
        "models": models,
        "ratios": _ratios(models["teacher"], models["student"]),
        "gate": gate,
        "pushed": pushed,
        "refused": reasons if pushed is None else [],
        "sentences": sentences,
        "answers": proof["answers"],
        "artifacts": {name: {key: output.uri for key, output in keys.items()} for name, keys in outputs.items()},
    }


def _history(run: str) -> dict:
    return json.loads((Path(run) / "history.json").read_text(encoding="utf-8"))


def _ratios(teacher: dict, student: dict) -> dict:
    single, batch = "1", max(teacher["latency"], key=int)
    return {
        "accuracy": student["accuracy"] / teacher["accuracy"] if teacher["accuracy"] else None,
        "macro_f1": student["macro_f1"] / teacher["macro_f1"] if teacher["macro_f1"] else None,
        "parameters": teacher["parameters"] / student["parameters"],
        "bytes": teacher["bytes"] / student["bytes"],
        "latency": teacher["latency"][single]["median_ms"] / student["latency"][single]["median_ms"],
        "throughput": student["latency"][batch]["rows_per_second"] / teacher["latency"][batch]["rows_per_second"],
    }
