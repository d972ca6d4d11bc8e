"""What every test may rely on: how long Hypothesis searches, which tests run where, and what a skip may hide.

In CI a test that is skipped because a server, tool or browser is not there has failed: nobody would notice otherwise.
Such a skip gives a reason that begins with ``missing:``. Any other skip is a skip everywhere.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI", "").lower() == "true"
IN_FULL = os.environ.get("MCE_FULL") == "1"
MISSING = "missing:"
AREA_BUDGET_S = 120.0
"""Seconds of tests that one folder may take in CI before its line says so; it fails nothing."""

if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # whoever starts us in the background of a shell has us ignore it, and our children too: they test Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

_quick = settings(max_examples=25, deadline=None, derandomize=IN_CI, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _quick)
settings.register_profile("full", _quick, max_examples=1000, derandomize=False)
settings.load_profile("full" if IN_FULL else "quick")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_this_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither read nor write what whoever runs the tests has set up for himself, here and in child processes."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_STATE_HOME"):
            patch.setenv(variable, str(folder / variable.lower()))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked slow or full where its time has not come."""
    for item in items:
        if item.get_closest_marker("full") and not IN_FULL:
            item.add_marker(pytest.mark.skip(reason="full: set MCE_FULL=1"))
        elif item.get_closest_marker("slow") and not (IN_FULL or IN_CI):
            item.add_marker(pytest.mark.skip(reason="slow: set MCE_FULL=1 or CI=true"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Turn a skip for something missing into a failure in CI."""
    return _fail_if_missing((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for a module that is skipped as a whole."""
    return _fail_if_missing((yield))


def _fail_if_missing(report):  # a TestReport or a CollectReport
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        reason = reason.removeprefix("Skipped: ")
        if reason.startswith(MISSING):
            report.outcome = "failed"
            report.longrepr = (
                f"{path}:{line}: in CI nothing may be missing, and this is: {reason[len(MISSING) :].strip()}"
            )
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print in CI what each area of the tests cost."""
    if not IN_CI:
        return
    tests: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                area = report.nodeid.split("::")[0].rpartition("/")[0]
                tests[area] += report.when == "call"
                seconds[area] += report.duration
    terminalreporter.section("seconds by area")
    for area in sorted(seconds, key=lambda area: -seconds[area]):
        over = f"  over its budget of {AREA_BUDGET_S:.0f} s" if seconds[area] > AREA_BUDGET_S else ""
        terminalreporter.line(f"{seconds[area]:8.1f}  {tests[area]:5d} tests  {area}{over}")
