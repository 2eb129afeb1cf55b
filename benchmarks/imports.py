"""`import tfmodels` beside `import keras`, in fresh processes.

python -m benchmarks.imports [--repeats 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks.pairs import compare, show


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="pairs of processes")
    repeats = parser.parse_args(argv).repeats

    def importing(statement):
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)

    keras = importing("import keras")
    ratios = [
        # At most 10 % more than Keras: at least 1 / 1.1 times as fast.
        compare("import tfmodels, against keras", importing("import tfmodels"), keras, repeats, 1 / 1.1),
        compare(
            "import tfmodels, its models too, against keras",
            importing("import tfmodels.models"),
            keras,
            repeats,
            1 / 1.1,
        ),
    ]
    show("Importing", ratios)


if __name__ == "__main__":
    main()
