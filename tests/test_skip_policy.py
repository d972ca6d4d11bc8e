"""In CI a skip for something missing is a failure; everywhere else, and for any other reason, it is a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ONE_TEST = """
import pytest

def test_it():
    pytest.skip({reason!r})
"""
WHOLE_MODULE = """
import pytest

pytest.skip({reason!r}, allow_module_level=True)

def test_it():
    pass
"""
MARKED = """
import pytest

@pytest.mark.skipif(True, reason={reason!r})
def test_it():
    pass
"""
EXPECTED_FAILURE = """
import pytest

@pytest.mark.xfail(reason={reason!r})
def test_it():
    assert False
"""


def run_pytest(folder: Path, program: str, reason: str, *, ci: str, arguments: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run `program` as a test file under this project's conftest, and return pytest's status and output."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: x\n    full: x\n")
    (folder / "test_it.py").write_text(program.format(reason=reason))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV", "MCE_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments, str(folder)]
    done = subprocess.run(command, cwd=folder, env={**env, "CI": ci}, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


@pytest.mark.parametrize("program", [ONE_TEST, WHOLE_MODULE, MARKED], ids=["test", "module", "mark"])
def test_in_ci_a_skip_for_something_missing_fails_and_names_it(tmp_path: Path, program: str) -> None:
    status, output = run_pytest(tmp_path, program, "missing: a browser", ci="true")

    assert status not in (0, 5)
    assert "in CI nothing may be missing, and this is: a browser" in output


def test_in_ci_it_fails_in_a_worker_of_xdist_too(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, ONE_TEST, "missing: a browser", ci="true", arguments=("-n", "1"))

    assert status == 1
    assert "in CI nothing may be missing, and this is: a browser" in output


def test_elsewhere_a_skip_for_something_missing_is_a_skip(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, ONE_TEST, "missing: a browser", ci="")

    assert status == 0
    assert "1 skipped" in output


def test_in_ci_a_skip_for_another_reason_is_a_skip(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, ONE_TEST, "Linux only", ci="true")

    assert status == 0
    assert "1 skipped" in output


def test_in_ci_an_expected_failure_is_left_alone_whatever_its_reason(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, EXPECTED_FAILURE, "missing: a fix", ci="true")

    assert status == 0
    assert "1 xfailed" in output


def test_in_ci_the_time_of_each_area_is_printed_above_the_closing_line(tmp_path: Path) -> None:
    _, output = run_pytest(tmp_path, "def test_it():\n    pass\n", "", ci="true")

    assert "seconds by area" in output
    assert "1 passed" in output.splitlines()[-1]
