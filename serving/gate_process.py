"""The gate's fresh process: `python -m serving.gate_process JOB` reads JOB/job.json and writes JOB/result.json.

Nothing here may import TensorFlow; the process ends with an error if anything did.
"""

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from serving.loader import SavedModel, tensorflow_version
from serving.operations import allowed_operations, must_compile, reason_against, used_operations
from serving.protos import saved_model_pb2, types_pb2
from serving.status import StatusError
from serving.warmup import Recorded, read_recorded, replay_warmup, serialized_examples

CARD = "model_card.json"


class _Gate:
    """Runs the checks one after the other and gathers what they find."""

    def __init__(self, settings: dict, requests: list[Recorded]):
        self.directory = Path(settings["directory"])
        self.tolerance = settings["tolerance"]
        self.latency_seconds = settings["latency_seconds"]
        self.threads = {key: settings[key] for key in ("intra_op_threads", "inter_op_threads")}
        self.requests = requests
        self.problems: list[str] = []
        self.checks: dict[str, str] = {}
        self.found: dict[str, object] = {}

    def run(self) -> dict:
        """Runs every check that can be run and returns the fields of a `GateReport`."""
        self._check("files", self._files)
        self._check("operations", self._operations)
        model = self._check("load", self._load)
        if model:
            sound = self._check("signatures", self._signatures, model)
            for name, check in (
                ("outputs", self._outputs),
                ("serve_examples", self._serve_examples),
                ("rows are independent", self._independence),
                ("empty batch", self._empty_batch),
                ("warm-up", self._warmup),
                ("latency", self._latency),
            ):
                if sound:
                    self._check(name, check, model)
                else:
                    self.checks[name] = "skipped: the signatures are wrong"
        return {
            "directory": str(self.directory),
            "passed": not self.problems,
            "problems": self.problems,
            "checks": self.checks,
            "tensorflow": tensorflow_version(),
            # Linux counts the peak in KiB.
            "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            **self.found,
        }

    def _check(self, name: str, check: Callable, *arguments):
        """Runs a check, which calls `_fail` for what is wrong, or returns why it was skipped as `_Skipped`."""
        before = len(self.problems)
        result = None
        try:
            result = check(*arguments)
        except StatusError as error:
            self._fail(f"{_WHAT_FAILED[name]}: {error}")
        if isinstance(result, _Skipped):
            self.checks[name] = f"skipped: {result}"
            return None
        passed = len(self.problems) == before
        self.checks[name] = "passed" if passed else "failed"
        return result if result is not None else passed

    def _fail(self, problem: str):
        self.problems.append(" ".join(problem.split()))

    def _files(self):
        path = self.directory / CARD
        if not path.exists():
            return _Skipped(f"there is no {CARD}")
        for name, checksum in json.loads(path.read_text(encoding="utf-8")).get("sha256", {}).items():
            file = self.directory / name
            if not file.exists():
                self._fail(f"The file {name} of the model card is missing: export the model again.")
            elif hashlib.sha256(file.read_bytes()).hexdigest() != checksum:
                self._fail(f"The file {name} was changed after the export: export the model again.")
        return None

    def _operations(self):
        try:
            saved = saved_model_pb2.SavedModel.FromString((self.directory / "saved_model.pb").read_bytes())
        except DecodeError:
            self._fail("saved_model.pb is damaged: export the model again.")
            return
        used = set()
        for meta_graph in saved.meta_graphs:
            operations = used_operations(meta_graph)
            used |= operations.keys()
            for name in must_compile(meta_graph):
                self._fail(
                    f"The function {name} demands XLA, which TensorFlow Serving disables: export it with "
                    "jit_compile=False."
                )
        self.found["operations"] = len(used)
        for operation in sorted(used - allowed_operations()):
            self._fail(f"The operation {operation} is not allowed: it {reason_against(operation)}.")

    def _load(self):
        start = time.perf_counter()
        model = SavedModel(self.directory, **self.threads)
        self.found["load_seconds"] = round(time.perf_counter() - start, 3)
        return model

    def _signatures(self, model: SavedModel):
        for name in ("serving_default", "serve_examples"):
            if name not in model.signatures:
                self._fail(f"There is no signature {name}: export the model with serving.export_savedmodel.")
                continue
            signature = model.signatures[name]
            for key, info in signature.inputs.items():
                if info.dtype != types_pb2.DT_STRING or info.shape != (None,):
                    self._fail(f"{name} takes {key} as {info}; a server is sent string[None].")
            for key, info in signature.outputs.items():
                if info.dtype != types_pb2.DT_FLOAT:
                    self._fail(f"{name} gives {key} as {info}; clients expect float32.")
            if not signature.outputs:
                self._fail(f"{name} has no output.")
        examples = model.signatures.get("serve_examples")
        if examples and list(examples.inputs) != ["examples"]:
            self._fail(f"serve_examples takes {', '.join(examples.inputs)}; it must take examples alone.")
        if examples and "serving_default" in model.signatures:
            default = model.signatures["serving_default"]
            if list(default.outputs) != list(examples.outputs):
                self._fail(
                    f"serving_default gives {', '.join(default.outputs)} but serve_examples "
                    f"{', '.join(examples.outputs)}."
                )

    def _outputs(self, model: SavedModel):
        self._compare(model, "serving_default", lambda inputs: inputs)

    def _serve_examples(self, model: SavedModel):
        self._compare(model, "serve_examples", lambda inputs: {"examples": serialized_examples(inputs)})

    def _compare(self, model: SavedModel, signature: str, encode: Callable):
        """Runs every request through a signature and compares with the expected outputs, where there are some."""
        for request in self.requests:
            actual = model.run(encode(request.inputs), signature)
            rows = _rows(request.inputs)
            for name, array in actual.items():
                if array.shape[:1] != (rows,):
                    self._fail(f"{signature} answers {rows} texts with {name} of the shape {list(array.shape)}.")
                elif not np.isfinite(array).all():
                    self._fail(f"{signature} answers a batch of {rows} with {name} that is not finite.")
            if request.outputs:
                self.found["rows_compared"] = self.found.get("rows_compared", 0) + rows
                self._differences(f"{signature} at batch {rows}", actual, request.outputs)

    def _differences(self, where: str, actual: dict, expected: dict):
        if actual.keys() != expected.keys():
            self._fail(f"{where} gives {', '.join(actual)}; the model gives {', '.join(sorted(expected))}.")
            return
        for name, array in actual.items():
            want = np.asarray(expected[name])
            if want.shape != array.shape:
                self._fail(f"{where} gives {name} of the shape {list(array.shape)}, not {list(want.shape)}.")
                continue
            difference = float(np.max(np.abs(array - want), initial=0.0))
            # max() would lose a NaN, which is no small difference.
            if not difference <= self.tolerance:
                self._fail(f"{where} differs in {name} by {difference:.3g}, more than {self.tolerance:g}.")
            self.found["max_difference"] = max(self.found.get("max_difference", 0.0), difference)

    def _independence(self, model: SavedModel):
        """A row's answer must not depend on the padding that its neighbours bring."""
        inputs = max((request.inputs for request in self.requests), key=_rows)
        rows = min(_rows(inputs), 7)
        batch = model.run(_slice(inputs, 0, rows))
        if any(array.shape[:1] != (rows,) for array in batch.values()):
            return _Skipped("the answers have another batch size")
        for row in range(rows):
            alone = model.run(_slice(inputs, row, row + 1))
            for name, array in alone.items():
                # Of answers token by token those to its own length; a longer neighbour brings more of padding.
                beside = batch[name][row][tuple(map(slice, array.shape[1:]))]
                difference = float(np.max(np.abs(array[0] - beside), initial=0.0))
                if not difference <= self.tolerance:
                    self._fail(
                        f"{name} of row {row} changes by {difference:.3g} when other rows stand beside it, more than "
                        f"{self.tolerance:g}."
                    )
                    return None
        return None

    def _empty_batch(self, model: SavedModel):
        outputs = model.run({name: [] for name in model.signature().inputs})
        for name, array in outputs.items():
            if array.shape[:1] != (0,):
                self._fail(f"An empty batch is answered with {name} of the shape {list(array.shape)}.")

    def _warmup(self, model: SavedModel):
        self.found["warmup_requests"] = replay_warmup(model)
        return None if self.found["warmup_requests"] else _Skipped("the export has no warm-up requests")

    def _latency(self, model: SavedModel):
        inputs = max((request.inputs for request in self.requests), key=_rows)
        rows = _rows(inputs)
        self.found["latency"] = {
            # Batches of one go through the texts in turn, so that short and long ones count as they come.
            "1": self._measure(model, [_slice(inputs, row, row + 1) for row in range(rows)], 1, at_least=20),
            str(rows): self._measure(model, [inputs], rows, at_least=2),
        }

    def _measure(self, model: SavedModel, batches: list[dict], rows: int, *, at_least: int) -> dict[str, float]:
        model.run(batches[0])
        times: list[float] = []
        while len(times) < at_least or sum(times) < self.latency_seconds:
            with _timed(times):
                model.run(batches[len(times) % len(batches)])
        milliseconds = np.array(times) * 1000
        return {
            "median_ms": round(float(np.median(milliseconds)), 3),
            "p99_ms": round(float(np.percentile(milliseconds, 99)), 3),
            "rows_per_second": round(rows * len(times) / sum(times), 1),
            "runs": len(times),
        }


class _Skipped(str):
    """Why a check was not made."""


_WHAT_FAILED = {
    "files": "The files cannot be read",
    "operations": "The graph cannot be read",
    "load": "TensorFlow Serving's loader refuses the model",
    "signatures": "The signatures cannot be read",
    "outputs": "The model fails in TensorFlow Serving's runtime",
    "serve_examples": "The signature serve_examples fails",
    "rows are independent": "The model fails on a single row",
    "empty batch": "The model fails on an empty batch",
    "warm-up": "A warm-up request fails, which keeps TensorFlow Serving from loading the version",
    "latency": "The model fails when it is asked again",
}


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times.append(time.perf_counter() - start)


def _rows(inputs: dict) -> int:
    return len(next(iter(inputs.values())))


def _slice(inputs: dict, start: int, stop: int) -> dict:
    return {name: values[start:stop] for name, values in inputs.items()}


def main(job: Path):
    """Runs the job in the folder `job`."""
    settings = json.loads((job / "job.json").read_text(encoding="utf-8"))
    result = _Gate(settings, list(read_recorded(job / "requests"))).run()
    if "tensorflow" in sys.modules:
        raise AssertionError("TensorFlow was imported in the process that must not have it.")
    (job / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
