"""The commands that need no pipeline and no server: list, describe, catalogue, convert, doctor."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command("list")
@click.argument("pattern", default="*")
def list_command(pattern):
    """List the registered models, or those that match a shell PATTERN such as 'bert*'."""
    from tfmodels.registry import describe_model, list_models

    table = Table(box=None, pad_edge=False)
    names = list_models(pattern)
    # On a narrow screen only the source is cut.
    table.add_column("model", min_width=max(map(len, names), default=0))
    for column, width in (("parameters", 11), ("layers", 6), ("hidden", 6), ("heads", 5)):
        table.add_column(column, justify="right", min_width=width)
    table.add_column("source", no_wrap=True, max_width=max(Console().width - 64, 16))
    for name in names:
        _, preset = describe_model(name)
        config = preset.config
        table.add_row(
            name,
            f"{preset.parameters:,}",
            str(config.num_layers),
            str(config.hidden_dim),
            str(getattr(config, "num_heads", "-")),  # LSTMs have none
            preset.source,
        )
    if not table.row_count:
        raise click.ClickException(f"no model matches {pattern!r}: run `tfmodels list` to see all.")
    Console().print(table)


@click.command("describe")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def describe_command(name, as_json):
    """Describe the registered model NAME: its configuration, parameters and source."""
    from tfmodels.registry import describe_model

    backbone, preset = describe_model(name)
    facts = {
        "name": name,
        "class": f"{backbone.__module__}.{backbone.__name__}",
        "parameters": preset.parameters,
        "source": preset.source,
        "config": preset.config.to_dict(),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    table = Table(show_header=False)
    for key in ("name", "class", "parameters", "source"):
        table.add_row(key, f"{facts[key]:,}" if key == "parameters" else facts[key])
    table.add_section()
    for key, value in facts["config"].items():
        table.add_row(key, str(value))
    Console().print(table)
    click.echo(f'model = tfmodels.create_model("{name}")')


@click.command("catalogue")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row.")
@click.option("--status", type=click.Choice(["done", "partly", "planned"]), help="Show only rows of this status.")
def catalogue_command(as_json, status):
    """Show the survey's systems with their paper, code and evidence."""
    from tfmodels.catalogue import as_dicts

    rows = [row for row in as_dicts() if status in (None, row["status"])]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table("id", "system", "status", "what is there", "code", "evidence")
    for row in rows:
        evidence = ", ".join(row["evidence_kind"]) + "".join(f"\n{test}" for test in row["evidence_tests"])
        table.add_row(row["id"], row["system"], row["status"], row["note"], "\n".join(row["code"]), evidence)
    Console().print(table)
    counts = {s: sum(row["status"] == s for row in rows) for s in ("done", "partly", "planned")}
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()))


@click.command("convert")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
def convert_command(source, target):
    """Convert between Hugging Face's and Keras's formats.

    SOURCE is a folder that transformers saved (config.json, model.safetensors) and TARGET a .keras file, or the other
    way round. What TARGET held before is replaced only when all has gone well.
    """
    from tfmodels.errors import UserError
    from tfmodels.files import atomic_file

    if target.suffix == ".keras" and source.is_dir():
        from tfmodels.interop import from_hf

        model = from_hf(source)
        with atomic_file(target) as partial:
            # Keras goes by the suffix.
            whole = partial.with_suffix(".keras")
            model.save(whole)
            whole.replace(partial)
    elif source.suffix == ".keras" and target.suffix != ".keras":
        import keras

        from tfmodels.interop import to_hf

        keras_model = keras.saving.load_model(source, compile=False)
        to_hf(keras_model, target)
    else:
        raise UserError("convert takes a Hugging Face folder and a .keras file, in either order.")
    click.echo(f"wrote {target}")


_PACKAGES = {
    "library": ("tensorflow", "keras", "tensorflow-text", "keras-nlp", "numpy", "safetensors"),
    "serving": ("tensorflow-serving-api", "grpcio", "protobuf"),
    "pipelines": ("tfx", "apache-beam", "ml-metadata", "tensorflow-model-analysis", "tensorflow-transform", "pip"),
    "kubeflow": ("kfp",),
}
_EXTRAS = {"serving": "serving", "pipelines": "tfx", "kubeflow": "kubeflow"}


@click.command("doctor")
def doctor_command():
    """Check this machine and environment, and say what each missing part is needed for."""
    import os

    console = Console()
    table = Table("part", "found", "", title="tfmodels doctor")
    problems = []

    def row(part, found, good=True, advice=""):
        table.add_row(part, found, "[green]ok[/]" if good else f"[yellow]{advice}[/]")
        if not good:
            problems.append(f"{part}: {advice}")

    glibc = platform.libc_ver()[1] or "unknown"
    row("Python", f"{platform.python_version()} ({sys.executable})")
    row("C library", f"glibc {glibc}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    row("processor", f"{os.cpu_count()} cores, {memory:.0f} GiB memory", memory >= 6, "the main job takes up to 6 GiB")
    free = shutil.disk_usage(".").free / 2**30
    row("disk", f"{free:.0f} GiB free here", free >= 5, "an environment and a run take about 5 GiB")
    for group, packages in _PACKAGES.items():
        table.add_section()
        for package in packages:
            try:
                row(package, metadata.version(package))
            except metadata.PackageNotFoundError:
                advice = f"pip install 'tfmodels[{_EXTRAS[group]}]'" if group in _EXTRAS else "pip install tfmodels"
                row(package, "missing", False, f"needed for {group}: {advice}")
    table.add_section()
    try:
        import tensorflow as tf

        devices = [device.device_type for device in tf.config.list_physical_devices()]
        row("devices", ", ".join(devices))
    except ImportError as error:
        row("devices", "unknown", False, f"TensorFlow does not load: {error}")
    server = shutil.which("tensorflow_model_server")
    row("tensorflow_model_server", server or "not on PATH: `tfmodels serve` stands in for it")
    console.print(table)
    for problem in problems:
        console.print(f"[yellow]![/] {problem}")
    if not problems:
        console.print("All is there.")
