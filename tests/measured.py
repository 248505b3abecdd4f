"""What tests measured, a line each at the end of the run; for the conftest of a folder that measures."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """`report(what, measured)`: a line at the end of the run."""
    return lambda what, measured: record_property("measured", f"{what}: {measured}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured."""
    for outcome in ("passed", "failed"):
        for test in terminalreporter.getreports(outcome):
            for name, text in test.user_properties:
                if name == "measured" and test.when == "call":
                    terminalreporter.write_line(str(text))
