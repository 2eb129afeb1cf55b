"""The figures of the last `make run`, beside their targets.

    python -m benchmarks.run --output runs/stars

Student and teacher were timed in turn in that run, through the C++ loader, on the same reviews.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.results import Result, command

_OUTPUT = "output/text_classification"


def measure(quick: bool = False, output: str = _OUTPUT) -> list[Result]:
    """The figures of a finished run of the text classification pipeline, beside their targets.

    Nothing is run: the figures are read from the run's results.json.
    """
    path = Path(output) / "results.json"
    if not path.is_file():
        return [Result("the last run", None, note=f"There is no finished run in {output}: run `make run` first.")]
    results = json.loads(path.read_text(encoding="utf-8"))
    ratios, seconds = results["ratios"], results["seconds"]
    cached = bool(seconds["cached"])
    return [
        Result("student's accuracy / teacher's", ratios["accuracy"], at_least=0.968),
        Result("teacher's parameters / student's", ratios["parameters"], at_least=7.5),
        Result("teacher's time / student's, one text", ratios["latency"], at_least=9.4),
        Result("teacher's time / student's, batches", ratios["throughput"], at_least=9.4),
        Result(f"wall time{', cached' if cached else ''}", seconds["wall"], at_most=90 if cached else 600, unit="s"),
        Result("overhead beside training and imports", seconds["overhead"], at_most=75, unit="s"),
        Result("peak memory", results["peak_memory_gib"], at_most=6, unit="GiB", note=f"The run in {output}."),
    ]


main = command(
    measure,
    click.option("--output", default=_OUTPUT, show_default=True, metavar="DIR", help="The folder of a finished run."),
)

if __name__ == "__main__":
    main()
