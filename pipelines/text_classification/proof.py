"""The proof that a pushed model serves: asked over gRPC and REST, and timed beside its teacher.

It runs in a process of its own, as a model server does: without Python TensorFlow, on the C++ loader alone.

    python -m pipelines.text_classification.proof JOB.json RESULT.json
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serving import GrpcClient, ModelServer, RestClient, SavedModel
from serving.gate import columns

# A sentence at a time is what an interactive caller feels; batches of this size are what a busy server makes.
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class ProofJob:
    """What to prove.

    Attributes:
        serving: The folder of versions, or None if none was pushed.
        version: The pushed version.
        model_name: The model's name in requests.
        exports: Name -> export, to time.
        sentences: What to ask and to show; for models of pairs, pairs.
        texts: What to time with.
        seconds: How long to measure each model.
    """

    serving: str | None
    version: int | None
    model_name: str
    exports: dict[str, str]
    sentences: list
    texts: list
    seconds: float = 2.0


def prove(job: ProofJob) -> dict:
    """Runs the job in a fresh process.

    Returns:
        `answers`: {"version", "probabilities" (a list a sentence), "difference" (the largest between gRPC and REST)},
        or None; `latency`: name -> batch size -> {"median_ms", "p99_ms", "rows_per_second"}, as the gate has it.

    Raises:
        RuntimeError: The process failed; the message holds what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        question, result = Path(folder) / "job.json", Path(folder) / "result.json"
        question.write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")
        command = [sys.executable, "-m", "pipelines.text_classification.proof", str(question), str(result)]
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if process.returncode:
            raise RuntimeError(f"the pushed model could not be served:\n{process.stdout}{process.stderr}")
        return json.loads(result.read_text(encoding="utf-8"))


def ask(base: str, name: str, version: int, sentences: Sequence) -> dict:
    """Serves a folder of versions on free loopback ports and asks it over both protocols."""
    with (
        ModelServer(base, name) as server,
        GrpcClient(server.grpc_address, name) as grpc,
        RestClient(server.rest_url, name) as rest,
    ):
        served = max(status.version for status in grpc.status())
        if served != version:
            raise RuntimeError(f"version {served} is served where {version} was pushed.")
        answers = [client.predict(sentences)["probabilities"] for client in (grpc, rest)]
    return {
        "version": version,
        "probabilities": np.round(answers[0], 6).tolist(),
        "difference": float(np.abs(answers[0] - answers[1]).max()),
    }


def measure(exports: dict[str, str], texts: Sequence, seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    """Times exports on the same texts, in turn, so that a busy moment of the machine falls on all of them."""
    models = {name: SavedModel(export) for name, export in exports.items()}
    names = list(next(iter(models.values())).signature().inputs)
    latency = {name: {} for name in models}
    for size in (1, _BATCH):
        requests = [columns(texts[start : start + size], names) for start in range(0, len(texts), size)]
        for model in models.values():
            # The first run of a shape builds its kernels.
            for inputs in requests[:16]:
                model.run(inputs)
        for name, times in _times(models, requests, seconds / 2).items():
            latency[name][str(size)] = {
                "median_ms": 1000 * float(np.median(times)),
                "p99_ms": 1000 * float(np.percentile(times, 99)),
                "rows_per_second": len(texts) * len(times) / len(requests) / sum(times),
            }
    return latency


def _times(models: dict, requests: list, seconds: float) -> dict[str, list[float]]:
    """Seconds of every request, in whole rounds over all requests, until each model has had its time."""
    times: dict[str, list[float]] = {name: [] for name in models}
    while min(sum(values) for values in times.values()) < seconds:
        for name, model in models.items():
            if sum(times[name]) < seconds:
                for inputs in requests:
                    started = time.perf_counter()
                    model.run(inputs)
                    times[name].append(time.perf_counter() - started)
    return times


def _main(question: str, result: str) -> None:
    job = ProofJob(**json.loads(Path(question).read_text(encoding="utf-8")))
    answers = None
    if job.serving is not None:
        answers = ask(job.serving, job.model_name, job.version, job.sentences)
    outcome = {"answers": answers, "latency": measure(job.exports, job.texts, job.seconds)}
    Path(result).write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
