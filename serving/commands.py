"""The commands `tfmodels check-export`, `tfmodels serve` and `tfmodels predict`."""

import json
import logging
import signal
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from serving.status import StatusError
from tfmodels.errors import UserError


def _console() -> Console:
    # Made when it is used: a test, or a pipe, may have replaced the standard output since.
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@click.command("check-export")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, help="A text to ask the model; may be given many times.")
@click.option("--tolerance", default=1e-4, show_default=True, help="The largest difference allowed between outputs.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds before the check is given up.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check_export_command(directory: Path, texts: tuple[str, ...], tolerance: float, timeout: float, as_json: bool):
    """Run an export through TensorFlow Serving's C++ loader.

    DIRECTORY is one exported version, the folder with saved_model.pb. A fresh process without Python TensorFlow loads
    it as TensorFlow Serving would, checks its files, operations, signatures and outputs for batches of 1, 7 and 256
    texts, replays its warm-up requests, and measures its latency.

    Exits with 0 if the export may be served, with 1 if not, and with 2 if there is nothing to check.

    \b
    Example:
      tfmodels check-export models/reviews/1
    """  # noqa: D301 - \b is what click reads
    from serving.gate import DEFAULT_TEXTS, check_savedmodel

    report = check_savedmodel(directory, texts=texts or DEFAULT_TEXTS, tolerance=tolerance, timeout=timeout)
    if as_json:
        click.echo(report.to_json())
    else:
        _print_report(report)
    if not report.passed:
        sys.exit(1)


def _print_report(report):
    console = _console()
    table = Table("check", "result", title=escape(report.directory), title_justify="left")
    styles = {"passed": "green", "failed": "red"}
    for check, result in report.checks.items():
        table.add_row(check, f"[{styles.get(result, 'yellow')}]{result}[/]")
    console.print(table)
    if report.latency:
        table = Table("batch", "median", "p99", "texts a second", title="Latency", title_justify="left")
        for batch, measured in report.latency.items():
            cells = f"{measured['median_ms']} ms", f"{measured['p99_ms']} ms", f"{measured['rows_per_second']:,.0f}"
            table.add_row(batch, *cells)
        console.print(table)
        console.print(
            f"Loaded in {report.load_seconds} s by TensorFlow {report.tensorflow}; {report.operations} kinds of "
            f"operations; peak memory {report.peak_memory_mib:,.0f} MiB."
        )
    if report.passed and not report.rows_compared:
        console.print(
            "The answers were compared among themselves; check_savedmodel(expected=...) compares a Keras model's."
        )
    for problem in report.problems:
        # Escaped: brackets in a file's name are no markup.
        console.print(f"[red]•[/] {escape(problem)}")
    verdict = "[bold green]This export can be served.[/]" if report.passed else "[bold red]Do not serve this export.[/]"
    console.print(verdict)


@click.command("serve")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", help="The model's name in requests.  [default: the folder's name]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; loopback by default.")
@click.option("--port", default=8500, show_default=True, help="The gRPC port; 0 takes a free one.")
@click.option("--rest-port", default=8501, show_default=True, help="The REST port; 0 takes a free one.")
@click.option("--versions", default=1, show_default=True, help="How many of the newest versions to serve.")
@click.option("--label", "labels", multiple=True, metavar="LABEL=VERSION", help="Name a version, such as stable=3.")
@click.option("--max-batch-size", default=1024, show_default=True, help="Refuse larger batches.")
@click.option("--max-request-mb", default=16.0, show_default=True, help="Refuse larger requests, in MB.")
@click.option("--threads", default=0, help="Threads inside an operation; 0 lets TensorFlow choose.")
def serve_command(
    directory: Path,
    name: str | None,
    host: str,
    port: int,
    rest_port: int,
    versions: int,
    labels: tuple[str, ...],
    max_batch_size: int,
    max_request_mb: float,
    threads: int,
):
    """Serve exported models on this machine over gRPC and REST.

    DIRECTORY holds the versions, one folder each: DIRECTORY/1, DIRECTORY/2, ... (or is itself one version). The newest
    is served; a newer one that appears later is loaded, warmed up and switched to without a gap. The protocol is
    TensorFlow Serving's, so every client of it works. Stop with Ctrl-C.

    \b
    Example:
      tfmodels serve models/reviews
      curl -d '{"instances": ["Good."]}' http://127.0.0.1:8501/v1/models/reviews:predict
    """  # noqa: D301 - \b is what click reads
    from serving.server import ModelServer

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    server = ModelServer(
        directory,
        name or _default_name(directory),
        host=host,
        grpc_port=port,
        rest_port=rest_port,
        num_versions=versions,
        labels=_parse_labels(labels),
        max_batch_size=max_batch_size,
        max_request_bytes=int(max_request_mb * 2**20),
        intra_op_threads=threads,
    )
    # A container's stop is a SIGTERM; and a shell that starts commands in the background switches Ctrl-C's signal off.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _stop)
    console = _console()
    try:
        with server:
            available = [s.version for s in server.manager.statuses() if s.state_name == "AVAILABLE"]
            console.print(f"[bold]{server.name}[/], version {', '.join(map(str, available))}")
            console.print(f"  gRPC  {server.grpc_address}")
            console.print(f"  REST  {server.rest_url}/v1/models/{server.name}:predict")
            console.print(f'  try   tfmodels predict --model {server.name} --grpc {server.grpc_address} --text "Good."')
            server.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")


def _stop(signal_number, frame):
    raise KeyboardInterrupt


def _default_name(directory: Path) -> str:
    resolved = directory.resolve()
    # One version's own folder is named by its number: the model's name stands above it.
    return resolved.parent.name if resolved.name.isdigit() else resolved.name


def _parse_labels(labels: tuple[str, ...]) -> dict[str, int]:
    parsed = {}
    for label in labels:
        name, _, version = label.partition("=")
        if not name or not version.isdigit():
            raise UserError(f"--label {label} is not LABEL=VERSION: write it like --label stable=3.")
        parsed[name] = int(version)
    return parsed


@click.command("predict")
@click.option("--text", "texts", multiple=True, help="A text; may be given many times.")
@click.option("--text-pair", "pairs", multiple=True, help="The second text, for models of pairs; one for every --text.")
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    help="A file with one text a line (TAB between the texts of a pair); - reads the standard input.",
)
@click.option("--grpc", "grpc_address", metavar="HOST:PORT", help="Ask over gRPC.  [default: 127.0.0.1:8500]")
@click.option("--rest", "rest_url", metavar="URL", help="Ask over REST, such as http://127.0.0.1:8501.")
@click.option("--model", default="model", show_default=True, help="The model's name on the server.")
@click.option("--version", type=int, help="The version to ask; the newest by default.")
@click.option("--label", help="The version's label, such as stable.")
@click.option(
    "--labels", "labels_file", type=click.Path(path_type=Path), help="The export's assets/labels.txt: show class names."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a text.")
def predict_command(texts, pairs, file, grpc_address, rest_url, model, version, label, labels_file, as_json):
    """Send texts to a served model.

    The server may be `tfmodels serve` or TensorFlow Serving itself.

    \b
    Examples:
      tfmodels predict --model reviews --text "Good." --text "Bad."
      tfmodels predict --model reviews --file texts.txt --rest http://127.0.0.1:8501
    """  # noqa: D301 - \b is what click reads
    from serving.client import GrpcClient, RestClient

    if grpc_address and rest_url:
        raise UserError("Give --grpc or --rest, not both.")
    rows = _rows(texts, pairs, file)
    labels = _read_labels(labels_file)
    kind, address = (RestClient, rest_url) if rest_url else (GrpcClient, grpc_address or "127.0.0.1:8500")
    with kind(address, model, version=version, label=label) as client:
        try:
            if len(client.metadata().inputs) > 1:
                rows = [tuple(row.split(b"\t")) if isinstance(row, bytes) else row for row in rows]
            outputs = client.predict(rows)
        except StatusError as error:
            raise UserError(f"The server refuses: {error}") from error
    if as_json:
        for position, row in enumerate(rows):
            answer = {name: array[position].tolist() for name, array in outputs.items()}
            click.echo(json.dumps({"text": _printable(row)} | answer, ensure_ascii=False))
    else:
        _print_answers(rows, outputs, labels)


def _rows(texts, pairs, file) -> list:
    """The rows to ask: texts, pairs of texts, and the lines of the file as bytes."""
    if pairs and len(pairs) != len(texts):
        raise UserError(f"There are {len(texts)} --text but {len(pairs)} --text-pair: give one for each.")
    rows = list(zip(texts, pairs)) if pairs else list(texts)
    if file is not None:
        rows += file.read().splitlines()
    if not rows:
        raise UserError("Give a text with --text, or a file with --file.")
    return rows


def _read_labels(path: Path | None) -> list[str]:
    if path is None:
        return []
    if not path.is_file():
        raise UserError(f"{path} is not a file: give the labels.txt in the assets of the export.")
    return path.read_text(encoding="utf-8").splitlines()


def _printable(row) -> object:
    if isinstance(row, tuple):
        return [_printable(text) for text in row]
    return row.decode("utf-8", "replace") if isinstance(row, bytes) else row


def _print_answers(rows: list, outputs: dict, labels: list[str]):
    console = _console()
    classes = outputs.get("probabilities")
    columns = ["text", "class", "probability"] if classes is not None else ["text", *outputs]
    table = Table(*columns)
    for position, row in enumerate(rows):
        shown = _printable(row)
        # As Text, so that brackets in a user's text are not read as rich's markup.
        cells = [Text(" | ".join(shown) if isinstance(shown, list) else shown, overflow="ellipsis", no_wrap=True)]
        if classes is not None:
            best = int(classes[position].argmax())
            cells += [labels[best] if best < len(labels) else str(best), f"{classes[position][best]:.4f}"]
        else:
            cells += [_vector(array[position]) for array in outputs.values()]
        table.add_row(*cells)
    console.print(table)


def _vector(values) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values.reshape(-1)[:4])
    return f"[{shown}, … {values.size} in all]" if values.size > 4 else f"[{shown}]"
