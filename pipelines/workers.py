"""Several machines share the training of one run: the same command on each, with its place in TF_CONFIG.

    run = lambda: run_job(job)
    pushed = together(this_cluster(), output, run)

The first worker runs the pipeline. Where a Trainer's recipe has the strategy "multi_worker", all workers run its
callback, each in a process of its own: workers must meet before TensorFlow computes anything, and a pipeline has long
computed. The others do nothing else. What the Trainers read and write must be at the same paths on every machine.

The workers find each other by OUTPUT/workers.json, where the first one says at which port of its host in TF_CONFIG it
listens, and a secret. They speak in lines of JSON. A worker that ends, whatever the way, closes its line; all others
then stop as well, their training with them. The same commands again go on from the last whole epoch.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import queue
import secrets
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import click

import tfmodels
from pipelines.console import quiet, user_error
from tfmodels.clusters import Cluster
from tfmodels.errors import UserError
from tfmodels.files import atomic_file

# What the Trainers' callbacks read of what TFX hands them.
_ARGUMENTS = (
    "train_files",
    "eval_files",
    "transform_graph_path",
    "serving_model_dir",
    "model_run_dir",
    "base_model",
    "custom_config",
)
_FILE = "workers.json"
_MOST = 2**22  # characters of a message
_GREETING = 10  # seconds in which one who connects must say who it is
_REST = 10  # seconds that are waited for a better reason, once something has failed
_AGAIN = "start the same command on all workers again."

_progress = logging.getLogger("tfmodels.progress")
_leader: _Leader | None = None


def together(cluster: Cluster, output: Path, run: Callable[[], bool]) -> bool:
    """Runs a job whose Trainers share their work with other machines.

    Args:
        cluster: The workers, and which of them this is.
        output: The job's folder, at the same path for all.
        run: The job; the first worker alone runs it.

    Returns:
        Whether the job pushed a model, on every worker.

    Raises:
        UserError: What the job raises; a worker failed or went away; the workers have different versions.
    """
    if cluster.index > 0:
        return _follow(cluster, output)
    global _leader
    with _leading(cluster, output) as leader:
        leader.meet()
        _leader = leader
        try:
            pushed = run()
        finally:
            _leader = None
        leader.say_all(end=pushed)
    return pushed


def shared(callback: Callable, strategy: str, fn_args) -> bool:
    """Lets all workers run a Trainer's callback, if its recipe wants that.

    Args:
        callback: A function of a module, with one argument.
        strategy: The recipe's.
        fn_args: What TFX hands to the callback.

    Returns:
        Whether they have done so. Otherwise the caller is to do it: on one machine, or as one of the workers.

    Raises:
        UserError: The callback raised one on a worker, or a worker went away.
    """
    if strategy != "multi_worker" or _leader is None:
        return False
    _leader.train(_called(callback, fn_args))
    return True


def _called(callback: Callable, fn_args) -> dict:
    # JSON from here to all processes; a path is told as text.
    arguments = {name: getattr(fn_args, name, None) for name in _ARGUMENTS}
    return json.loads(
        json.dumps({"callback": f"{callback.__module__}:{callback.__qualname__}", "arguments": arguments}, default=str)
    )


class _Line:
    """A connection whose messages are JSON objects, a line each; what is heard goes to a queue as (who, message).

    The message None says that the other side has ended.
    """

    def __init__(self, write, read):
        self._write, self._read = write, read

    def say(self, **message) -> None:
        with suppress(OSError):  # It has ended, as the queue says.
            self._write.write(json.dumps(message) + "\n")
            self._write.flush()

    def hear(self) -> dict | None:
        try:
            text = self._read.readline(_MOST)
            message = json.loads(text) if text.endswith("\n") else None
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def listen(self, who, events: queue.Queue) -> None:
        """Starts to hear."""

        def hear():
            message = {}
            while message is not None:
                message = self.hear()
                events.put((who, message))

        threading.Thread(target=hear, daemon=True).start()


def _line(connection: socket.socket) -> _Line:
    return _Line(connection.makefile("w", encoding="utf-8"), connection.makefile("r", encoding="utf-8"))


class _Training:
    """A worker's own process for a callback. Its output goes where this process's goes; its messages to a queue."""

    def __init__(self, call: dict, events: queue.Queue):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        line = _Line(self._process.stdin, self._process.stdout)
        line.say(**call)
        line.listen(self, events)

    def end(self) -> int:
        self._process.kill()
        return self._process.wait()


class _Leader:
    """The first worker, as the others see it."""

    def __init__(self, cluster: Cluster, server: socket.socket, secret: str):
        self.cluster, self._server, self._secret = cluster, server, secret
        self.events: queue.Queue = queue.Queue()
        self._lines: dict[int, _Line] = {}
        self._connections: list[socket.socket] = []
        self._gone: set[int] = set()

    def meet(self) -> None:
        """Waits for all workers."""
        count = len(self.cluster.addresses)
        while len(self._lines) < count - 1:
            missing = [str(index) for index in range(1, count) if index not in self._lines]
            click.echo(f"worker 0 of {count}: waiting for worker {', '.join(missing)}", err=True)
            connection, _ = self._server.accept()
            self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        connection.settimeout(_GREETING)
        line = _line(connection)
        greeting = line.hear() or {}
        index, version = greeting.get("index"), greeting.get("version")
        if not secrets.compare_digest(str(greeting.get("secret")), self._secret):
            connection.close()
            return
        if version != tfmodels.__version__:
            line.say(refused=f"it has tfmodels {version}, the first one {tfmodels.__version__}: install the same.")
        elif index not in range(1, len(self.cluster.addresses)) or index in self._lines:
            line.say(refused=f"the first worker's TF_CONFIG has no {index}, or it is there already: mend TF_CONFIG.")
        else:
            connection.settimeout(None)
            line.say(welcome=True)
            line.listen(index, self.events)
            self._lines[index] = line
            self._connections.append(connection)

    def close(self) -> None:
        """Sends all workers away."""
        for connection in self._connections:
            with suppress(OSError):  # It may have gone itself.
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def say_all(self, **message) -> None:
        for line in self._lines.values():
            line.say(**message)

    def train(self, call: dict) -> None:
        """Runs a callback on all workers; returns when all have done it."""
        if self._gone:
            raise UserError(f"worker {min(self._gone)} went away: {_AGAIN}")
        self.say_all(**call)
        own = _Training(call, self.events)
        try:
            self._wait(own, {own, *self._lines})
        finally:
            own.end()

    def _wait(self, own: _Training, working: set) -> None:
        failure, until = None, None
        while working:
            try:
                who, message = self.events.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            name = "worker 0" if who is own else f"worker {who}"
            if message is None:
                if who in self._lines:
                    self._gone.add(who)  # Maybe with its work done, and the next one to come.
                if who in working:
                    failure = failure or UserError(f"{name} went away in the middle of its work: {_AGAIN}")
                working.discard(who)
            elif "progress" in message:
                _progress.info(message["progress"], extra={"passing": bool(message.get("passing"))})
            elif "done" in message:
                working.discard(who)
            elif "failed" in message:
                told, is_mistake = message["failed"], message.get("mistake")
                # Where one has failed the others fail too; the first worker has the best reason.
                if who is own:
                    failure = UserError(told) if is_mistake else RuntimeError(told)
                failure = failure or UserError(f"{name}: {told}")
                working.discard(who)
                if who is own:
                    break
            if failure is not None and until is None:
                until = time.monotonic() + _REST
        if failure is not None:
            raise failure


@contextmanager
def _leading(cluster: Cluster, output: Path):
    """The first worker, which listens; `output` says where for the block's time."""
    hosts = [address.rpartition(":")[0].strip("[]") for address in cluster.addresses]
    # A name of one's own is often that of the loopback alone; others find the machine by it.
    bound = hosts[0] if len(set(hosts)) == 1 else ""
    try:
        server = socket.create_server((bound, 0), family=socket.AF_INET6 if ":" in hosts[0] else socket.AF_INET)
    except OSError as error:
        raise UserError(
            f"this machine is not {hosts[0]} ({error.strerror or error}): give the first worker's address in TF_CONFIG."
        ) from error
    secret = secrets.token_hex(16)
    output.mkdir(parents=True, exist_ok=True)
    file = output / _FILE
    leader = _Leader(cluster, server, secret)
    with server:
        with atomic_file(file) as partial:
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
            told = {"address": [hosts[0], server.getsockname()[1]], "secret": secret}
            Path(partial).write_text(json.dumps(told), encoding="utf-8")
        try:
            yield leader
        finally:
            file.unlink(missing_ok=True)
            leader.close()


def _follow(cluster: Cluster, output: Path) -> bool:
    """Trains whenever the first worker does; returns what its job does."""
    name = f"worker {cluster.index} of {len(cluster.addresses)}"
    line = _connect(cluster, output, name)
    click.echo(f"{name}: ready", err=True)
    events: queue.Queue = queue.Queue()
    line.listen(0, events)
    training = None
    with quiet(output / "logs" / f"worker-{cluster.index}.log") as console:
        try:
            while True:
                who, message = events.get()
                if who == 0:
                    if message is None:
                        raise UserError(f"worker 0 has gone: see its own message, and {_AGAIN}")
                    if "end" in message:
                        return bool(message["end"])
                    console.print(f"{name}: trains ({message['callback'].partition(':')[2]})")
                    training = _Training(message, events)
                elif who is not training:
                    pass  # The end of one that is done.
                elif message is None or "failed" in message:
                    told = message["failed"] if message else f"its training went away: {_AGAIN}"
                    line.say(failed=told)
                    raise UserError(f"{name}: {told}")
                elif "done" in message:
                    training.end()
                    training = None
                    line.say(done=True)
        finally:
            if training is not None:
                training.end()


def _connect(cluster: Cluster, output: Path, name: str) -> _Line:
    """The line to the first worker, as soon as it is there."""
    told = False
    while True:
        try:
            first = json.loads((output / _FILE).read_text(encoding="utf-8"))
            connection = socket.create_connection(tuple(first["address"]), timeout=_GREETING)
        except (OSError, ValueError, KeyError):  # Not yet, or what a run that was killed has left.
            if not told:
                click.echo(f"{name}: waiting for worker 0 to run in {output}", err=True)
                told = True
            time.sleep(1)
            continue
        line = _line(connection)
        line.say(index=cluster.index, version=tfmodels.__version__, secret=first["secret"])
        answer = line.hear() or {}
        if "refused" in answer:
            raise UserError(f"{name} was refused: {answer['refused']}")
        if "welcome" in answer:
            connection.settimeout(None)
            return line
        time.sleep(1)


class _Telling(logging.Handler):
    """Sends what `tfmodels.progress` says along a line."""

    def __init__(self, line: _Line):
        super().__init__(logging.INFO)
        self.line = line

    def emit(self, record: logging.LogRecord) -> None:
        self.line.say(progress=record.getMessage(), passing=getattr(record, "passing", False))


def main() -> None:
    """What a `_Training` is: runs the callback that standard input names, and tells on standard output how it went."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # All else that is printed is for the log.
    line = _Line(told, sys.stdin)
    call = line.hear()

    def end_with_parent():
        line.hear()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _progress.addHandler(_Telling(line))
    _progress.setLevel(logging.INFO)
    try:
        module, _, function = call["callback"].partition(":")
        getattr(importlib.import_module(module), function)(SimpleNamespace(**call["arguments"]))
    except Exception as error:
        traceback.print_exc()
        mistake = user_error(error)
        line.say(failed=str(mistake or f"{type(error).__name__}: {error}"), mistake=mistake is not None)
        os._exit(1)
    line.say(done=True)


if __name__ == "__main__":
    main()
