"""The parity run: its references, the sizes and heads of every family, and the worst difference of every comparison."""

import importlib.util
import sys

import pytest

# Without the references there is nothing to compare with: `make parity` has them.
if not all(map(importlib.util.find_spec, ("torch", "transformers", "optax", "subword_nmt", "torch_geometric"))):
    collect_ignore_glob = ["test_*.py"]


def pytest_generate_tests(metafunc):
    """Runs the tests of a class that derives from `FamilyChecks` on each of its sizes and heads."""
    for argument, values in (("sizes", "sizes"), ("head", "heads")):
        if metafunc.cls is not None and argument in metafunc.fixturenames:
            known = getattr(metafunc.cls, values)
            metafunc.parametrize(argument, list(known.values() if argument == "sizes" else known), ids=list(known))


# What the workers of a run in several processes have sent.
_SENT: list[dict[str, float]] = []


def _seen() -> dict[str, float]:
    """What `check_parity` has seen in this process."""
    parity = sys.modules.get("tests.support.parity")
    return {} if parity is None else parity.WORST


def pytest_sessionfinish(session):
    """A worker sends what it has seen."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["worst"] = _seen()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Takes what a worker sends."""
    _SENT.append(getattr(node, "workeroutput", {}).get("worst", {}))


def pytest_terminal_summary(terminalreporter):
    """Prints the worst of what every process has seen."""
    worst: dict[str, float] = {}
    for seen in (_seen(), *_SENT):
        for name, difference in seen.items():
            worst[name] = max(worst.get(name, 0.0), difference)
    if worst:
        terminalreporter.section("worst differences from the references")
        for name, difference in sorted(worst.items()):
            terminalreporter.write_line(f"{difference:9.2e}  {name}")
