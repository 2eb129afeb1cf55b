"""The user sees lines; everything else is in the log, whoever writes it."""

import io
import logging
import subprocess
import sys
from pathlib import Path

from absl import logging as absl_logging
from rich.console import Console

from pipelines.console import ComponentLines

ROOT = Path(__file__).resolve().parents[2]


def test_all_output_but_the_consoles_goes_to_the_log(tmp_path):
    program = """
import os, subprocess, sys
from pathlib import Path
from pipelines.console import quiet
print("before")
with quiet(Path(sys.argv[1])) as console:
    print("Python's output")
    os.write(2, b"C's error\\n")
    subprocess.run(["echo", "a child's output"])
    console.print("for the user")
print("after")
"""
    log = tmp_path / "logs" / "pipeline.log"
    process = subprocess.run([sys.executable, "-c", program, log], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.splitlines() == ["before", "for the user", "after"] and process.stderr == ""
    assert sorted(log.read_text().splitlines()) == ["C's error", "Python's output", "a child's output"]


def test_an_error_gives_the_output_back(tmp_path):
    program = """
import sys
from pathlib import Path
from pipelines.console import quiet
try:
    with quiet(Path(sys.argv[1])):
        raise ValueError
except ValueError:
    print("told", file=sys.stderr)
"""
    command = [sys.executable, "-c", program, tmp_path / "log"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr == "told\n"


def test_a_line_for_every_component():
    screen = io.StringIO()
    progress = logging.getLogger("tfmodels.progress")
    with ComponentLines(Console(file=screen, width=80)) as lines:
        absl_logging.info("Component Transform is running.")
        absl_logging.info("something that TFX has to say")
        absl_logging.info("A cached execution 3 is used.")
        absl_logging.info("Component Transform is finished.")
        absl_logging.info("Component Trainer.teacher is running.")
        progress.info("teacher: epoch 1 of 2, batch 3 of 9", extra={"passing": True})
        progress.info("teacher: epoch 1 of 2")
        absl_logging.info("Component Trainer.teacher is finished.")
        absl_logging.info("Component Pusher is running.")
    shown = screen.getvalue()
    assert [line.split() for line in shown.splitlines()] == [
        ["✓", "Transform", "cached"],
        ["teacher:", "epoch", "1", "of", "2"],
        ["✓", "Trainer.teacher", "0.0", "s"],
    ]
    assert set(lines.seconds) == {"Transform", "Trainer.teacher"}
    assert lines.cached == {"Transform"} and lines.current == "Pusher"


def test_the_messages_are_those_of_the_installed_tfx():
    from tfx.orchestration.local import local_dag_runner
    from tfx.orchestration.portable import launcher

    runner, launch = Path(local_dag_runner.__file__).read_text(), Path(launcher.__file__).read_text()
    assert "'Component %s is running.'" in runner and "'Component %s is finished.'" in runner
    assert "'A cached execution %d is used.'" in launch
