"""How long the live checks of each file took, in all, at the end of the report."""

from __future__ import annotations

from collections import defaultdict

import pytest

_seconds: defaultdict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    file = report.nodeid.partition("::")[0]
    if file.startswith("tests/parity/"):
        _seconds[file] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _seconds:
        terminalreporter.section("seconds of live checks by file")
    for file, seconds in sorted(_seconds.items(), key=lambda each: -each[1]):
        terminalreporter.line(f"{seconds:7.0f}  {file}")
