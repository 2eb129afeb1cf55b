"""What `import tfmodels` costs over `import keras`: fresh processes, in turn.

python -m benchmarks.imports
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.pairs import in_turn
from benchmarks.results import Result, command

_ROOT = Path(__file__).resolve().parents[1]
_STATEMENTS = {
    "import tfmodels": "import tfmodels",
    "import tfmodels and its first use": "import tfmodels; tfmodels.create_model; tfmodels.list_models()",
}


def measure(quick: bool = False, pairs: int = 5) -> list[Result]:
    """What `import tfmodels` costs over `import keras`, in fresh processes.

    The first use loads the registry and the models, and Keras with them: that is what the target is about.
    """
    pairs = min(pairs, 3) if quick else pairs
    results = []
    for what, statement in _STATEMENTS.items():
        times = in_turn(lambda: _python("import keras"), lambda code=statement: _python(code), pairs, warmups=1)
        results.append(Result.of_pairs(f"{what} / import keras", times, "keras", "tfmodels", at_most=1.1))
    return results


def _python(code: str) -> None:
    # Compiled once and then read from the cache, like an installed package.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stderr=subprocess.DEVNULL)


main = command(measure, click.option("--pairs", default=5, show_default=True, help="How often each is timed."))

if __name__ == "__main__":
    main()
