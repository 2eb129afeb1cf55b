"""The parity run ends with the worst difference of every comparison."""

import sys


def pytest_terminal_summary(terminalreporter):
    """Prints what `check_parity` has seen."""
    parity = sys.modules.get("tests.support.parity")
    if parity is not None and parity.WORST:
        terminalreporter.section("worst differences from the references")
        for name, difference in sorted(parity.WORST.items()):
            terminalreporter.write_line(f"{difference:9.2e}  {name}")
