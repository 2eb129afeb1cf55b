"""`python -m benchmarks [NAME ...]`: runs the benchmarks, all of them by default.

imports   `import tfmodels` beside `import keras`
encoder   BERT-base beside KerasHub's: forward, training step, real lengths
run       what the last `make run` reached, beside its targets
tries     what each part of the student's recipe brings (minutes; only when named)

Each takes options when run alone: `python -m benchmarks.NAME --help`.
"""

import sys
from importlib import import_module

_ALL, _NAMED = ("imports", "encoder", "run"), ("tries",)


def main(names: list[str]) -> int:
    """Runs the named benchmarks one after the other."""
    if {"-h", "--help"} & set(names):
        print(__doc__)
        return 0
    unknown = [name for name in names if name not in (*_ALL, *_NAMED)]
    if unknown:
        print(f"there is no benchmark {unknown[0]!r}: choose of {', '.join((*_ALL, *_NAMED))}.", file=sys.stderr)
        return 2
    for name in names or _ALL:
        import_module(f"benchmarks.{name}").main([])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
