"""How a job runs in its folder, alone, and what the user sees of it: a line a component. All else goes into a log."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import logging as absl_logging
from rich.console import Console
from rich.markup import escape

from tfmodels.errors import UserError

_STARTED = re.compile(r"Component (\S+) is running\.")
_FINISHED = re.compile(r"Component (\S+) is finished\.")
_CACHED = re.compile(r"A cached execution \d+ is used\.")


def run_alone(output: Path, run: Callable[[Console], bool]) -> bool:
    """Runs a job in its folder, with its noise in `output/logs/pipeline.log`.

    Args:
        output: The folder for everything that is made.
        run: The job, on the user's console; returns whether a model was pushed.

    Returns:
        What `run` returned; False where it failed by a bug, which has been printed.

    Raises:
        UserError: The table or a setting has a mistake, or another run uses the folder.
    """
    log = output / "logs" / "pipeline.log"
    with _only_run(output), quiet(log) as console:
        try:
            return run(console)
        except Exception as error:
            traceback.print_exc()
            mistake = user_error(error)
            console.print(f"[dim]The log is {escape(str(log))}.[/]")
            if mistake is not None:
                raise mistake from error
            cause = str(error).strip().splitlines() or ["no message"]
            console.print(f"[red]{type(error).__name__}:[/] {escape(cause[-1])}")
            return False


def run_locally(console: Console, pipeline) -> ComponentLines:
    """Runs a TFX pipeline on this machine, with a line a component; returns what the lines said."""
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    with ComponentLines(console) as lines:
        try:
            LocalDagRunner().run(pipeline)
        except Exception:
            console.print(f"  [red]✗[/] {lines.current}")
            raise
    return lines


@contextmanager
def _only_run(output: Path):
    """Refuses a second run in the same folder; a killed one is in nobody's way."""
    output.mkdir(parents=True, exist_ok=True)
    with open(output / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another run uses {output}: wait for it, or give another --output.") from error
        yield


def user_error(error: BaseException | None) -> UserError | None:
    """The user's mistake behind an error that TFX or Beam may have wrapped."""
    while error is not None:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def quiet(log: Path) -> Iterator[Console]:
    """Yields the user's console; for the block's time all other output of the process goes to the end of `log`.

    Standard output and error are redirected where the operating system knows them, so that C++ and child processes
    are quiet as well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with open(log, "ab", buffering=0) as file, os.fdopen(os.dup(1), "w", encoding="utf-8") as screen:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield Console(file=screen, highlight=False, soft_wrap=not screen.isatty())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), saved):
                os.dup2(descriptor, number)
                os.close(descriptor)


class ComponentLines(logging.Handler):
    """Turns the log lines of TFX's runner and of `tfmodels.progress` into a line a component on the console.

    TFX offers no other way to follow a run of LocalDagRunner. If its messages change, lines are missing and nothing
    else.

    Attributes:
        seconds: Component -> seconds that it took.
        cached: The components that were taken from the cache.
        current: The component that runs, or the last one that ran.
    """

    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self.console = console
        self.seconds: dict[str, float] = {}
        self.cached: set[str] = set()
        self.current: str | None = None
        self._started = 0.0
        self._status = console.status("starting")
        self._loggers = [absl_logging.get_absl_logger(), logging.getLogger("tfmodels.progress")]

    def __enter__(self) -> ComponentLines:
        for logger in self._loggers:
            logger.addHandler(self)
            logger.setLevel(logging.INFO)
        # Where absl's flags are parsed later, they set the level anew.
        absl_logging.set_verbosity(absl_logging.INFO)
        self._status.start()
        return self

    def __exit__(self, *error):
        self._status.stop()
        for logger in self._loggers:
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Shows the record if it says how far the run is."""
        message = record.getMessage()
        if record.name == "tfmodels.progress":
            self._status.update(escape(f"{self.current}: {message}"))
            if not getattr(record, "passing", False):
                self.console.print(f"    [dim]{escape(message)}[/]")
        elif match := _STARTED.fullmatch(message):
            self.current, self._started = match[1], time.monotonic()
            self._status.update(self.current)
        elif _CACHED.fullmatch(message) and self.current:
            self.cached.add(self.current)
        elif match := _FINISHED.fullmatch(message):
            name, seconds = match[1], time.monotonic() - self._started
            self.seconds[name] = seconds
            note = "[dim]cached[/]" if name in self.cached else f"{seconds:6.1f} s"
            self.console.print(f"  [green]✓[/] {name:<24}{note}")
