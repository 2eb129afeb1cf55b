"""The gate: proves in a fresh process, through TensorFlow Serving's own loader, that an export can be served.

Python's `tf.saved_model.load` accepts models that `tensorflow_model_server` refuses; among them those of the official
TFX examples, `tf.saved_model.save(keras_3_model, ...)`, whose variables the C++ loader does not find. So the gate
starts a process that never imports TensorFlow, loads the export with `serving.loader` and asks it everything that a
server will be asked. A crash of the C++ code ends that process and not this one.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from serving.warmup import Recorded, write_recorded
from tfmodels.errors import UserError

# Asked when the caller names no texts: empty, blank, other scripts, composed emoji, a NUL, and usual sentences.
DEFAULT_TEXTS = (
    "",
    " ",
    "A film that is as good as it is long.",
    "不错的电影",
    "Ein schöner, trauriger Film – naïve résumé.",
    "👩‍👩‍👧 \u0301 e\u0301",
    "NUL \x00 inside",
    "UNAFFABLE unaffable supercalifragilisticexpialidocious",
    "It takes its time, and it takes ours, and then it gives both back with interest: " * 3,
    "no",
    "Not bad, not bad at all!",
)

_COMMAND = ("-m", "serving.gate_process")
_ROOT = Path(__file__).resolve().parent.parent

Expected = Callable[[Mapping[str, list]], Mapping[str, object]] | Sequence[tuple[Mapping[str, object], Mapping]]


@dataclass(frozen=True)
class GateReport:
    """What the gate found.

    Attributes:
        directory: The export.
        passed: Whether every check passed.
        problems: One sentence for each thing that is wrong.
        checks: Check -> "passed", "failed" or "skipped: why".
        tensorflow: The version of the C++ library.
        load_seconds: Time to load the model, variables and tables included.
        operations: How many different operations the graph uses.
        warmup_requests: How many warm-up requests were replayed.
        rows_compared: How many rows were compared with the expected outputs.
        max_difference: The largest absolute difference from an expected output, or None if none were given.
        latency: Batch size -> {"median_ms", "p99_ms", "rows_per_second", "runs"}.
        peak_memory_mib: The most memory that the process held, in MiB.
    """

    directory: str
    passed: bool
    problems: tuple[str, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)
    tensorflow: str = ""
    load_seconds: float | None = None
    operations: int = 0
    warmup_requests: int = 0
    rows_compared: int = 0
    max_difference: float | None = None
    latency: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    peak_memory_mib: float = 0.0

    def to_json(self) -> str:
        """The report as an indented JSON object."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def check_savedmodel(
    directory: str | os.PathLike,
    *,
    expected: Expected | None = None,
    texts: Iterable[str | bytes | Sequence[str | bytes]] = DEFAULT_TEXTS,
    tolerance: float = 1e-4,
    batch_sizes: Sequence[int] = (1, 7, 256),
    latency_seconds: float = 2.0,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
    timeout: float = 600.0,
) -> GateReport:
    """Runs an export through the C++ loader in a fresh process.

    Checked are: the files against the checksums of the model card; every operation against the allowlist; that
    nothing asks for XLA; that the model loads; the signatures' names, types and shapes; the outputs of
    `serving_default` and of `serve_examples` against the expected ones for every batch size; that a row's answer does
    not depend on the rows beside it; the empty batch; the warm-up requests. Latency and memory are measured.

    Args:
        directory: The export, the folder with `saved_model.pb`.
        expected: The Keras model's answers: a callable that takes `{feature: [texts]}` and returns `{output: array}`,
            or pairs of such inputs and outputs. Without it the outputs are only checked among themselves.
        texts: What to ask, repeated to fill the batches; for models of text pairs, pairs. Not used for pairs of
            inputs and outputs, which bring their own.
        tolerance: The largest allowed absolute difference between outputs.
        batch_sizes: The batches to ask for; one of 1, an odd and a large one by default.
        latency_seconds: The time to spend on measuring, for each of the smallest and the largest batch.
        intra_op_threads: Threads inside an operation; 0 lets TensorFlow choose.
        inter_op_threads: Operations at a time; 0 lets TensorFlow choose.
        timeout: Seconds after which the process is ended and the export fails.

    Returns:
        The report; `passed` says whether the export may be served.

    Raises:
        UserError: There is no export in `directory`, or the arguments cannot be used.
    """
    directory = Path(directory).resolve()
    if not (directory / "saved_model.pb").exists():
        raise UserError(f"{directory} holds no saved_model.pb: give the folder of one exported version.")
    if not batch_sizes or min(batch_sizes) < 1:
        raise UserError("Give at least one batch size, and none below 1.")
    texts = list(texts)
    if not texts:
        raise UserError("Give at least one text to ask the model.")
    with tempfile.TemporaryDirectory(prefix="tfmodels-gate-") as folder:
        job = Path(folder)
        recorded = _recorded(directory, expected, texts, batch_sizes)
        write_recorded(job / "requests", recorded)
        settings = {
            "directory": str(directory),
            "tolerance": tolerance,
            "latency_seconds": latency_seconds,
            "intra_op_threads": intra_op_threads,
            "inter_op_threads": inter_op_threads,
        }
        (job / "job.json").write_text(json.dumps(settings), encoding="utf-8")
        died = _run_process(job, timeout)
        result = job / "result.json"
        if not died:
            fields = json.loads(result.read_text(encoding="utf-8"))
            fields["problems"] = tuple(fields["problems"])
            return GateReport(**fields)
        return GateReport(str(directory), passed=False, problems=(died,), checks={"process": "failed"})


def _recorded(directory: Path, expected: Expected | None, texts: list, batch_sizes: Sequence[int]) -> list[Recorded]:
    """The requests to make, with their answers where they are known."""
    if expected is not None and not callable(expected):
        return [
            Recorded(inputs, {name: np.asarray(value) for name, value in outputs.items()})
            for inputs, outputs in expected
        ]
    names = _feature_names(directory)
    requests = []
    for size in batch_sizes:
        rows = [texts[position % len(texts)] for position in range(size)]
        inputs = columns(rows, names)
        outputs = expected(inputs) if expected else {}
        requests.append(Recorded(inputs, {name: np.asarray(value) for name, value in outputs.items()}))
    return requests


def columns(rows: Iterable[str | bytes | Sequence[str | bytes]], names: Sequence[str]) -> dict[str, list]:
    """Rows of text as one column for every feature.

    Args:
        rows: A text for each row, or a sequence with one text for every feature. A single text stands for all.
        names: The features' names.

    Returns:
        Feature name -> texts.

    Raises:
        UserError: A row has not as many texts as there are features.
    """
    filled = [(row,) * len(names) if isinstance(row, (str, bytes)) else tuple(row) for row in rows]
    for row in filled:
        if len(row) != len(names):
            raise UserError(f"A row has {len(row)} texts: give one for each of {', '.join(names)}.")
    return {name: [row[position] for row in filled] for position, name in enumerate(names)}


def _feature_names(directory: Path) -> list[str]:
    """The input names of `serving_default`, in the order of their names; ["text"] where they cannot be read."""
    from google.protobuf.message import DecodeError

    from serving.protos import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
        names = sorted(saved.meta_graphs[0].signature_def["serving_default"].inputs)
    except (DecodeError, IndexError):
        # The process reports what is wrong with the file.
        names = []
    return names or ["text"]


def _run_process(job: Path, timeout: float) -> str | None:
    """Runs the fresh process on a job's folder.

    Returns:
        Why there is no result, or None if there is one.
    """
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }
    command = [sys.executable, *_COMMAND, str(job)]
    try:
        process = subprocess.run(command, env=environment, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"The C++ process did not finish within {timeout:g} seconds."
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return f"The C++ loader crashed with {name}: {_last_lines(process.stderr)}"
    if process.returncode:
        raise RuntimeError(f"The gate's process failed:\n{process.stderr.decode('utf-8', 'replace')}")
    return None


def _last_lines(output: bytes, count: int = 3) -> str:
    return " ".join(output.decode("utf-8", "replace").strip().splitlines()[-count:]) or "it said nothing."
