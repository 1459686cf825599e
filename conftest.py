"""What every test session ends with: the table of what could not be shown on this machine.

With ``REQUIRE_ALL=1`` (continuous integration) a skip is a failure, unless it is for want of a GPU or of the
market data that may not be published with the repository.
"""

from __future__ import annotations

import os

import pytest

_EXCUSED = ("gpu", "real_data")
_skipped: list[tuple[str, str, bool]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        excused = any(marker in report.keywords for marker in _EXCUSED)
        _skipped.append((report.nodeid, reason.removeprefix("Skipped: "), excused))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("not shown here")
    rows = [*_skipped]
    if not os.environ.get("CATALYST_MARKET_DATA"):
        rows.append(("real market data", "CATALYST_MARKET_DATA is not set", True))
    rows.append(("GPU members", "their fall-back to the CPU only; on a device: make test-gpu", True))
    rows.append(("feature kernels on a GPU", "shown in numba's simulator only; on a device: make test-gpu", True))
    width = max(len(name) for name, _, _ in rows)
    for name, reason, excused in rows:
        terminalreporter.write_line(f"{name:<{width}}  {reason}{'' if excused else '  [REQUIRED]'}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    required = [name for name, _, excused in _skipped if not excused]
    if os.environ.get("REQUIRE_ALL") == "1" and required and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
