"""Processes of their own: for what is measured afresh, in memory above all, and in another environment."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# The environment that has transformers; `./bootstrap parity` makes it.
PARITY = ROOT / ".venvs/parity/bin/python"
# What makes glibc keep freed memory. Otherwise it gives tensors of more than 32 MiB back to the kernel after every
# operation, which hands out their pages anew, one fault and one page of zeros at a time.
KEEPS_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_ARENA_MAX": "1"}
# oneDNN's allocator keeps what it once had too, so that the peak of a step would hide in it.
GIVES_BACK = {"TF_ENABLE_ONEDNN_OPTS": "0"}
# Operations one after the other, so that a peak of memory does not hang on which of them happened to run together.
IN_ORDER = {"TF_NUM_INTEROP_THREADS": "1"}


def in_a_process(
    function: str, *arguments, python: str | Path = sys.executable, environment: dict[str, str] | None = None
) -> Any:
    """What a function returns in a process of its own.

    Args:
        function: Its module and its name, such as "benchmarks.reformer.step_memory".
        arguments: What JSON can hold; so must the result be.
        python: The interpreter.
        environment: Variables beside this process's own.

    Raises:
        subprocess.CalledProcessError: The process failed; it has said why.
    """
    module, _, name = function.rpartition(".")
    code = f"import json, sys; from {module} import {name} as f; print(json.dumps(f(*json.loads(sys.argv[1]))))"
    process = subprocess.run(
        [str(python), "-c", code, json.dumps(arguments)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def memory_of(step: Callable[[], Any]) -> tuple[float, Any]:
    """MiB that a step needs at its peak, beyond what the process held before, and what the step returns; on Linux.

    For processes whose environment is `GIVES_BACK`.
    """
    if any(os.environ.get(name) != value for name, value in GIVES_BACK.items()):
        raise RuntimeError(f"the allocator of this process keeps what is freed: start it with {GIVES_BACK}.")
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # What is free goes back, and is not taken for what is held.
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Forgets the peak so far.
    result = step()
    return max(resident("VmHWM") - before, 0.0), result


def resident(field: str) -> float:
    """MiB of this process: "VmRSS", what it holds, or "VmHWM", the most that it has held."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
