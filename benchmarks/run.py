"""What the last `make run` reached, beside its targets.

    python -m benchmarks.run [--output output/text_classification]

Student and teacher ran side by side in that run, through the C++ loader, on the same reviews.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table


def main(argv: list[str] | None = None) -> None:
    """Prints the table, or says that there is no run yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="output/text_classification", help="the folder of a finished run")
    path = Path(parser.parse_args(argv).output) / "results.json"
    if not path.is_file():
        print(f"There is no finished run in {path.parent}: run `make run` first.")
        return
    results = json.loads(path.read_text(encoding="utf-8"))
    ratios, seconds = results["ratios"], results["seconds"]
    cached = bool(seconds["cached"])
    rows = [
        ("accuracy, of the teacher's", ratios["accuracy"], "{:.1%}", 0.968, False),
        ("times fewer parameters", ratios["parameters"], "{:.1f}", 7.5, False),
        ("times faster, one text", ratios["latency"], "{:.1f}", 9.4, False),
        ("times more texts a second, in batches", ratios["throughput"], "{:.1f}", 9.4, False),
        ("wall time, s" + (" (cached)" if cached else ""), seconds["wall"], "{:.0f}", 90 if cached else 600, True),
        ("overhead beside fitting and importing, s", seconds["overhead"], "{:.0f}", 75, True),
        ("peak memory, GiB", results["peak_memory_gib"], "{:.1f}", 6, True),
    ]
    table = Table("", "reached", "target", title=f"The last run in {path.parent}", title_justify="left")
    for name, value, form, target, at_most in rows:
        good = value <= target if at_most else value >= target
        wanted = f"{'at most' if at_most else 'at least'} {form.format(target)} {'✓' if good else '✗'}"
        table.add_row(name, form.format(value), wanted)
    Console().print(table)


if __name__ == "__main__":
    main()
