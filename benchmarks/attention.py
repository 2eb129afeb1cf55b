"""Kinds of attention: time and memory of one encoder layer by the length of the sequence, beside full attention.

    python -m benchmarks.attention --quick
    python -m benchmarks.attention --kind LocalAttention --lengths 512,2048,8192

One sequence goes through one layer of BERT's kind (256 wide, 4 heads, a feed-forward network of 1,024), whose attention
is of each kind at the settings of `benchmarks.kinds`. Forward is inference; training is forward and backward, with the
gradients of all weights and of the input. Nothing is compiled by XLA.

Times of all kinds are taken in turn, full attention among them, in one process a length, whose allocator keeps what is
freed (`benchmarks.processes.KEEPS_MEMORY`), and where every step has run once before. Memory is what the layer needs
beyond its weights: the peak of a process of its own, a kind, over what it held before, without oneDNN, whose allocator
would hide it. A kind stops at the length where its next step would by its last two need more than the limits of time or
memory: full attention first.

Each figure is a file in the output folder, so that a run that was stopped goes on from there, and `attention.json`
holds all of them: `tfmodels attention-guide --records DIR` reads it.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import records
from benchmarks.kinds import KINDS, kind_of
from benchmarks.processes import GIVES_BACK, KEEPS_MEMORY, in_a_process, memory_of
from benchmarks.results import Result, command
from tfmodels.errors import UserError, nearest
from tfmodels.files import atomic_file

_SIZES = {"num_layers": 1, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024, "dropout": 0.0}
_LENGTHS = tuple(2**power for power in range(9, 17))
_FULL = "FullAttention"
_WAYS = ("forward", "training")
_WARM = 256  # Tokens of the call that prepares a process.
_SLOPES_FROM = 2048
# Times are of the computation, not of the kernel that hands out the same pages again and again.
_ENVIRONMENTS = {"time": KEEPS_MEMORY, "memory": GIVES_BACK}


def measure(
    quick: bool = False,
    kind: tuple[str, ...] = (),
    lengths: str = ",".join(map(str, _LENGTHS)),
    rounds: int = 2,
    most_seconds: float = 30.0,
    most_memory: float = 6.0,
    output: str = "output/attention",
) -> list[Result]:
    """Time and memory of every kind of attention, by the length of the sequence, beside full attention.

    Takes some twenty minutes on two cores, prints a table and draws time.png and memory.png in the output folder.
    """
    names = _names(kind)
    if quick:
        rounds = 1
    sizes = [size for size in _sizes(lengths) if not quick or size <= 1024]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    limits = {"seconds": most_seconds, "gib": most_memory}
    for name in names:
        _missing(folder, "memory", [name], sizes, rounds, limits)
    for length in sizes:
        # Short ones are over in no time, and vary most.
        _missing(folder, "time", names, [length], max(1, round(rounds * min(5, 8192 / length))), limits)
    kinds = _collected(folder, names, sizes)
    with atomic_file(folder / "attention.json") as partial:
        Path(partial).write_text(json.dumps(kinds, indent=2), encoding="utf-8")
    _show(kinds, sizes)
    draw(kinds, folder)
    return [result for name in names for result in _results(name, kinds[name])]


def _names(chosen: tuple[str, ...]) -> list[str]:
    """The kinds to measure: full attention always, and first."""
    for name in chosen:
        if name not in KINDS:
            raise UserError(f"there is no kind of attention {name!r}: {nearest(name, KINDS)}")
    return list(dict.fromkeys([_FULL, *(chosen or KINDS)]))


def _sizes(lengths: str) -> list[int]:
    try:
        sizes = sorted({int(length) for length in lengths.split(",")})
    except ValueError:
        sizes = [0]
    if sizes[0] < 1:
        raise UserError(f"--lengths {lengths} are not numbers of tokens: give them as 512,1024,2048.")
    return sizes


def _path(folder: Path, what: str, name: str, length: int) -> Path:
    return folder / f"{what}-{name}-{length}.json"


def _read(folder: Path, what: str, name: str, length: int) -> dict | None:
    """A finished record of the kind as it is set today."""
    return records.read(_path(folder, what, name, length), _settings(what, name, length))


def _settings(what: str, name: str, length: int) -> dict:
    # Figures with oneDNN's kernels and without are two things.
    environment = {name: os.environ[name] for name in GIVES_BACK} | _ENVIRONMENTS[what]
    return {"length": length, **_SIZES, "attention": kind_of(name, length).to_dict(), "environment": environment}


def _write(folder: Path, what: str, name: str, length: int, figures: dict) -> None:
    records.write(_path(folder, what, name, length), _settings(what, name, length), figures)


def _missing(folder: Path, what: str, names: list[str], sizes: list[int], rounds: int, limits: dict) -> None:
    """Measures, in a process of its own, what has no record."""
    wanted = [name for name in names if any(_read(folder, what, name, length) is None for length in sizes)]
    if not wanted:
        return
    click.echo(f"{what}: {', '.join(wanted)} at {', '.join(f'{size:,}' for size in sizes)} tokens", err=True)
    arguments = (str(folder), wanted, sizes, rounds, limits)
    in_a_process(f"benchmarks.attention.measure_{what}", *arguments, environment=_ENVIRONMENTS[what])


def measure_memory(folder: str, names: list[str], sizes: list[int], rounds: int, limits: dict) -> None:
    """The peaks of one kind, from the shortest sequence to the longest."""
    del rounds
    folder, (name,) = Path(folder), names
    past: dict[str, list[tuple[int, float]]] = {way: [] for way in _WAYS}
    for length in sizes:
        record = _read(folder, "memory", name, length)
        if record is None:
            steps = _steps(name, length)
            record = {}
            for way in _WAYS:
                if _expected(past[way], length) > limits["gib"] * 1024:
                    record[way] = None
                    continue
                record[way] = _peak(steps[way], length)
            _write(folder, "memory", name, length, record)
        for way in _WAYS:
            past[way].append((length, math.inf if record[way] is None else record[way]))


def _peak(step, length: int) -> float:
    """MiB that a step needs at its peak."""
    step(_WARM)
    return memory_of(lambda: step(length))[0]


def measure_time(folder: str, names: list[str], sizes: list[int], rounds: int, limits: dict) -> None:
    """The times of kinds at one length, in turn: full attention among them, where it can be had."""
    folder, (length,) = Path(folder), sizes
    steps = {}
    for name in dict.fromkeys([_FULL, *names]):
        memory = _read(folder, "memory", name, length) or {}
        made = None
        for way in _WAYS:
            shorter = [
                (size, record[way]["seconds"])
                for size in _lengths_of(folder, "time", name)
                if size < length and (record := _read(folder, "time", name, size)) and record[way] is not None
            ]
            if memory.get(way) is None or _expected(shorter, length) > limits["seconds"]:
                continue
            made = made or _steps(name, length)
            made[way](length)  # Whoever came first would pay for the pages that all use afterwards.
            steps[name, way] = made[way]
    times = {key: [] for key in steps}
    for number in range(rounds):
        for key in list(steps)[:: 1 if number % 2 == 0 else -1]:
            times[key].append(_timed(steps[key], length))
    for name in names:
        figures = {}
        for way in _WAYS:
            own, full = times.get((name, way)), times.get((_FULL, way))
            if not own:
                figures[way] = None
                continue
            figures[way] = {"seconds": min(own), "median": statistics.median(own), "rounds": len(own)}
            if full:
                figures[way]["full_seconds"] = min(full)
                figures[way]["times_full"] = statistics.median(a / b for a, b in zip(own, full))
        _write(folder, "time", name, length, figures)


def _timed(step, length: int) -> float:
    started = time.perf_counter()
    step(length)
    return time.perf_counter() - started


def _lengths_of(folder: Path, what: str, name: str) -> list[int]:
    return sorted(int(path.stem.rsplit("-", 1)[1]) for path in folder.glob(f"{what}-{name}-*.json"))


def _expected(past: list[tuple[int, float]], length: int) -> float:
    """What a length will take, by the growth from the last but one to the last; 0 where nothing is known."""
    if not past:
        return 0.0
    size, last = past[-1]
    if not math.isfinite(last):
        return last
    power = 2.0  # One length tells no growth: the worst is expected, which is full attention's.
    if len(past) > 1:
        size_before, before = past[-2]
        power = math.log(max(last, 1e-9) / max(before, 1e-9)) / math.log(size / size_before)
    return last * (length / size) ** max(power, 0.0)


def _steps(name: str, length: int) -> dict:
    """Functions of a number of tokens, by name: they run the layer and wait for it."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tfmodels.models import BertBackbone, BertConfig

    tf.get_logger().setLevel("ERROR")  # It warns of functions that are traced anew, as all of these are.
    keras.utils.set_random_seed(0)
    config = BertConfig(
        max_sequence_length=length, attention=kind_of(name, length), **_SIZES, attention_dropout=0.0, vocabulary_size=8
    )
    policy = keras.dtype_policies.get("float32")
    parts = {**BertBackbone.make_nodes(config, policy), "blocks": BertBackbone.make_blocks(config, policy)}
    tokens = keras.Input((None, config.hidden_dim), name="embedded")  # ETC's nodes have "tokens".
    is_real = keras.Input((None,), dtype="bool", name="padding_mask")
    output = BertBackbone.encode(parts, tokens, {"padding_mask": is_real})["sequence_output"]
    model = keras.Model([tokens, is_real], output)
    signature = [tf.TensorSpec([1, None, config.hidden_dim]), tf.TensorSpec([1, None], tf.bool)]

    @tf.function(input_signature=signature, autograph=False, jit_compile=False)
    def forward(tokens, is_real):
        return tf.reduce_sum(model([tokens, is_real], training=False))

    @tf.function(input_signature=signature, autograph=False, jit_compile=False)
    def training(tokens, is_real):
        weights = [variable.value for variable in model.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(tokens)
            loss = tf.reduce_mean(tf.square(model([tokens, is_real], training=True)))
        gradients = tape.gradient(loss, [tokens, *weights])
        return tf.add_n([tf.reduce_sum(tf.convert_to_tensor(g)) for g in gradients if g is not None])

    def at(function):
        def step(tokens):
            random = np.random.default_rng(0)
            x = tf.constant(random.normal(size=(1, tokens, config.hidden_dim)), tf.float32)
            return float(function(x, tf.ones((1, tokens), tf.bool)))

        return step

    return {"forward": at(forward), "training": at(training)}


def _collected(folder: Path, names: list[str], sizes: list[int]) -> dict:
    """All records, by kind, with the slopes fitted to them."""
    kinds = {}
    for name in names:
        found = {what: {size: _read(folder, what, name, size) or {} for size in sizes} for what in ("time", "memory")}
        by_way = {}
        for way in _WAYS:
            times = {size: record[way] for size, record in found["time"].items() if record.get(way)}
            memory = {size: record[way] for size, record in found["memory"].items() if record.get(way) is not None}
            by_way[way] = {
                "seconds": {size: value["seconds"] for size, value in times.items()},
                "times_full": {size: value["times_full"] for size, value in times.items() if "times_full" in value},
                "mebibytes": memory,
                "time_slope": slope({size: value["seconds"] for size, value in times.items()}),
                "memory_slope": slope(memory),
            }
        kinds[name] = {"attention": kind_of(name, max(sizes)).to_dict(), **by_way}
    return json.loads(json.dumps(kinds))  # Keys as a reader of the file has them.


def slope(figures: dict[int, float]) -> float | None:
    """The power of the length that figures grow by: least squares of the logarithms, from 2,048 tokens on."""
    points = [
        (math.log(size), math.log(value)) for size, value in figures.items() if size >= _SLOPES_FROM and value > 0
    ]
    if len(points) < 2:
        return None
    return statistics.linear_regression(*zip(*points)).slope


def _results(name: str, record: dict) -> list[Result]:
    """The figures that have targets: of all kinds but full attention."""
    quadratic = name == _FULL
    results = []
    for way in _WAYS:
        figures = record[way]
        for what in ("time", "memory"):
            target = None if quadratic else 1.2
            found = figures[f"{what}_slope"]
            results.append(Result(f"{name}, {way}: {what} grows by this power of T", found, at_most=target))
        faster = figures["times_full"].get(str(_SLOPES_FROM))
        if not quadratic and faster:
            results.append(Result(f"{name}, {way}: times as fast as full at 2,048", 1 / faster, at_least=1.0))
    return results


def _show(kinds: dict, sizes: list[int]) -> None:
    for title, figure, form in (
        ("seconds", "seconds", "{:.3g}"),
        ("times the time of full attention", "times_full", "{:.2f}"),
        ("MiB at the peak", "mebibytes", "{:,.0f}"),
    ):
        for way in _WAYS:
            click.echo(f"\n{way}: {title}")
            table = Table(box=None, pad_edge=False)
            table.add_column("kind", no_wrap=True)
            for size in sizes:
                table.add_column(f"{size:,}", justify="right")
            for name, record in kinds.items():
                cells = [record[way][figure].get(str(size)) for size in sizes]
                table.add_row(name, *("-" if cell is None else form.format(cell) for cell in cells))
            Console(width=120).print(table)


def draw(kinds: dict, folder: Path) -> None:
    """Draws time.png and memory.png: a panel forward and one in training, a line a kind."""
    from matplotlib.figure import Figure

    pictures = {"time": ("seconds", "seconds"), "memory": ("mebibytes", "MiB at the peak")}
    for picture, (key, label) in pictures.items():
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        panels = figure.subplots(1, len(_WAYS), sharey=True)
        for axes, way in zip(panels, _WAYS):
            for number, (name, record) in enumerate(kinds.items()):
                points = sorted((int(size), value) for size, value in record[way][key].items())
                style = {"color": "black", "linewidth": 2.5} if name == _FULL else {"color": f"C{number % 10}"}
                marker = "o" if name == _FULL else "osv^Dx*P"[number % 8]
                axes.plot(*zip(*points) if points else ([], []), marker=marker, markersize=4, label=name, **style)
            axes.set(title=way, xlabel="tokens", xscale="log", yscale="log")
            axes.set_xscale("log", base=2)
            axes.grid(alpha=0.3)
        panels[0].set_ylabel(label)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right", fontsize=8)
        with atomic_file(folder / f"{picture}.png") as partial:
            figure.savefig(partial, format="png", dpi=110)


main = command(
    measure,
    click.option("--kind", multiple=True, metavar="KIND", help="May be given again.  [default: all]"),
    click.option("--lengths", default=",".join(map(str, _LENGTHS)), show_default=True, help="Tokens of the sequence."),
    click.option("--rounds", default=2, show_default=True, type=click.IntRange(1), help="Timings at 8,192 tokens; "
                 "shorter sequences have up to five times as many, longer ones fewer."),
    click.option("--most-seconds", default=30.0, show_default=True, help="Steps that would take longer are left out."),
    click.option("--most-memory", default=6.0, show_default=True, help="GiB; steps that would need more are left out."),
    click.option("--output", default="output/attention", show_default=True, help="Where records and plots go."),
)  # fmt: skip

if __name__ == "__main__":
    main()
