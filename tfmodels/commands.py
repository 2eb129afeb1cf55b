"""The commands that need no pipeline and no server: list, describe, attention-guide, catalogue, convert, doctor."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
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


@click.command("attention-guide")
@click.argument("kind", required=False)
@click.option("--records", metavar="DIR", help="What `python -m benchmarks.attention` measured: its --output folder.")
@click.option("--length", default=4096, show_default=True, help="The length whose figures are shown, in tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a kind.")
def attention_guide_command(kind, records, length, as_json):
    """Compare the kinds of attention: what each costs, what it needs, and when to take it; or tell all of one KIND.

    A kind is part of a model's configuration, in Python as in JSON:

    \b
      tfmodels.create_model("bert_small", attention=FullAttention(causal=True))
      {"student": {"overrides": {"attention": {"kind": "FullAttention", "causal": true}}}}

    In what a kind costs, T is the length of the sequence in tokens, N the heads and D the hidden size; the other
    letters are the kind's settings and are told below the table. "Causal" says whether it can make a language model,
    "longest" whether it is built for a greatest length. Relative positions, masks other than padding and attention
    scores are for full attention alone. With --records, time and memory are those of one layer beside full attention
    on the machine that measured them.

    \b
    Examples:
      tfmodels attention-guide
      tfmodels attention-guide FullAttention
      tfmodels attention-guide --records output/attention --length 16384
    """  # noqa: D301 - \b is what click reads
    facts = _attention_facts(_attention_records(records) if records else {}, length)
    if kind is not None:
        from tfmodels.errors import UserError, nearest

        if kind not in facts:
            raise UserError(f"there is no kind of attention {kind!r}: {nearest(kind, facts)}")
        facts = {kind: facts[kind]}
    if as_json:
        click.echo(json.dumps(list(facts.values()), indent=2))
        return
    if kind is None:
        _show_attention_table(facts, length if records else None)
    for fact in facts.values():
        _show_attention_advice(fact, whole=kind is not None)


def _attention_records(folder: str) -> dict:
    """What the benchmark measured, by kind."""
    from tfmodels.errors import UserError

    path = Path(folder) / "attention.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): run `python -m benchmarks.attention --output {folder}` first."
        ) from error


def _attention_facts(records: dict, length: int) -> dict[str, dict]:
    """All that is known of every kind, as plain values."""
    from dataclasses import fields

    from tfmodels.models import AttentionKind
    from tfmodels.registry import describe_model, list_models

    presets: dict[str, list[str]] = {}
    for name in list_models():
        config = describe_model(name)[1].config
        kind = getattr(config, "kind", getattr(config, "attention", None))
        # Reformer's layers take several in turn.
        for part in {type(part).__name__ for part in (kind if isinstance(kind, tuple) else (kind,))}:
            presets.setdefault(part, []).append(name)
    facts = {}
    for name, kind in AttentionKind.kinds().items():
        defaults = kind()
        settings = {item.name: getattr(defaults, item.name) for item in fields(kind)}
        causal = "either" if "causal" in settings else "yes" if defaults.is_causal else "no"
        facts[name] = {
            "kind": name,
            **kind.guide._asdict(),
            "causal": causal,
            "positions": "any" if kind.takes_positions else "absolute",
            "masks": "any" if kind.takes_masks else "padding",
            "longest": "fixed" if kind.max_length is not AttentionKind.max_length else "none",
            "settings": settings,
            "presets": presets.get(name, []),
        }
        if name in records:
            measured = _attention_measured(records[name], records.get("FullAttention", {}), length)
            facts[name]["measured"] = measured
    return facts


def _attention_measured(record: dict, full: dict, length: int) -> dict:
    """Time and memory at a length, as times those of full attention where that could be had, and their slopes."""
    measured = {}
    for way in ("forward", "training"):
        figures, size = record[way], str(length)
        memory, whole = figures["mebibytes"].get(size), full.get(way, {}).get("mebibytes", {}).get(size)
        measured[way] = {
            "seconds": figures["seconds"].get(size),
            "times_full": figures["times_full"].get(size),
            "mebibytes": memory,
            "memory_times_full": memory / whole if memory and whole else None,
            "time_slope": figures["time_slope"],
            "memory_slope": figures["memory_slope"],
        }
    return measured


def _show_attention_table(facts: dict[str, dict], length: int | None) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("kind", "time", "memory", "causal", "longest"):
        table.add_column(column, no_wrap=True)
    for fact in facts.values():
        # The letters are explained with the advice.
        costs = [fact[name].split(",")[0] for name in ("time", "memory")]
        table.add_row(fact["kind"], *costs, fact["causal"], fact["longest"])
    console = Console(highlight=False)
    console.print(table)
    if length is not None:
        console.print(f"\nOne layer on {length:,} tokens, beside full attention, and the powers of T that it grows by:")
        table = Table(box=None, pad_edge=False)
        table.add_column("kind", no_wrap=True)
        for way in ("forward", "training"):
            for what in ("time", "memory", "slopes"):
                table.add_column(f"{way}\n{what}", justify="right", no_wrap=True)
        for name, fact in facts.items():
            if "measured" in fact:
                table.add_row(name, *(cell for way in fact["measured"].values() for cell in _attention_cells(way)))
        console.print(table)
    console.print()


def _attention_cells(way: dict) -> list[str]:
    def beside(value, ratio, unit):
        if value is None:
            return "-"
        return f"{value:,.3g} {unit}" + (f" ({ratio:.2f} x)" if ratio else "")

    slopes = [way["time_slope"], way["memory_slope"]]
    return [
        beside(way["seconds"], way["times_full"], "s"),
        beside(way["mebibytes"], way["memory_times_full"], "MiB"),
        " ".join("-" if slope is None else f"{slope:.2f}" for slope in slopes),
    ]


def _show_attention_advice(fact: dict, whole: bool) -> None:
    console = Console(highlight=False)
    console.print(f"[bold]{fact['kind']}[/] ({fact['paper']})", soft_wrap=True)
    if not whole:
        console.print(Padding(f"Time {fact['time']}. Sees {fact['sees']}.", (0, 0, 0, 2)))
    console.print(Padding(fact["advice"], (0, 0, 0, 2)))
    if fact["presets"]:
        shown = fact["presets"] if whole else fact["presets"][:4]
        more = f" and {len(fact['presets']) - len(shown)} more" if len(shown) < len(fact["presets"]) else ""
        console.print(Padding(f"Presets: {', '.join(shown)}{more}.", (0, 0, 0, 2)))
    if whole:
        for name in ("time", "memory", "sees", "causal", "positions", "masks", "longest"):
            console.print(f"  {name + ':':<11}{fact[name]}")
        for way, cells in fact.get("measured", {}).items():
            console.print(f"  {way}: {', '.join(_attention_cells(cells))}")
        settings = ", ".join(f"{name}={value!r}" for name, value in fact["settings"].items())
        console.print(f'  create_model("bert_small", attention={fact["kind"]}({settings}))', soft_wrap=True)


@click.command("catalogue")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row.")
@click.option("--status", type=click.Choice(["done", "partly", "planned"]), help="Show only rows of this status.")
def catalogue_command(ids, as_json, status):
    """Show the survey's systems, how far each is, and what kinds of evidence hold it.

    With IDs, show these rows whole: the paper, the files of the code and of the tests.

    \b
    Examples:
      tfmodels catalogue --status partly
      tfmodels catalogue A4 P9
    """  # noqa: D301 - \b is what click reads
    from tfmodels.catalogue import as_dicts
    from tfmodels.errors import UserError, nearest

    rows = {row["id"]: row for row in as_dicts()}
    for name in ids:
        if name not in rows:
            raise UserError(f"the catalogue has no row {name!r}: {nearest(name, rows)}")
    rows = [row for row in rows.values() if status in (None, row["status"]) and (not ids or row["id"] in ids)]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    console, width = Console(), max((len(row["system"]) for row in rows), default=0)
    for row in rows:
        kinds = ", ".join(row["evidence_kind"])
        console.print(f"{row['id']:<4}{row['system']:<{width}}  {row['status']:<7}  {kinds}".rstrip(), soft_wrap=True)
        if row["note"]:
            console.print(Padding(f"[dim]{escape(row['note'])}[/]", (0, 0, 0, 4)))
        if ids:
            for name, values in {"paper": [row["paper"]], "code": row["code"], "tests": row["evidence_tests"]}.items():
                for value in values:
                    console.print(f"    {name + ':':<7}{value}", soft_wrap=True, highlight=False)
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
