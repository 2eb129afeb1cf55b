"""The parity run: its references, the sizes and heads of every family, and the worst difference of every comparison."""

import importlib.util
import sys

# Without the references there is nothing to compare with: `make parity` has them.
if not all(map(importlib.util.find_spec, ("torch", "transformers", "optax", "subword_nmt", "torch_geometric"))):
    collect_ignore_glob = ["test_*.py"]


def pytest_generate_tests(metafunc):
    """Runs the tests of a class that derives from `FamilyChecks` on each of its sizes and heads."""
    for argument, values in (("sizes", "sizes"), ("head", "heads")):
        if metafunc.cls is not None and argument in metafunc.fixturenames:
            known = getattr(metafunc.cls, values)
            metafunc.parametrize(argument, list(known.values() if argument == "sizes" else known), ids=list(known))


def pytest_terminal_summary(terminalreporter):
    """Prints what `check_parity` has seen."""
    parity = sys.modules.get("tests.support.parity")
    if parity is not None and parity.WORST:
        terminalreporter.section("worst differences from the references")
        for name, difference in sorted(parity.WORST.items()):
            terminalreporter.write_line(f"{difference:9.2e}  {name}")
