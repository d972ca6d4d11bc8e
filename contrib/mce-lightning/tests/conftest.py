"""The tests train for real: without Lightning there is nothing to test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
MISSING = next((name for name in ("torch", "lightning") if importlib.util.find_spec(name) is None), None)
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Say what is missing, in place of tests that could not be imported."""
    if MISSING and file_path.parent == HERE and file_path.name == "conftest.py":
        return _Missing.from_parent(parent, path=file_path)
    return None


class _Missing(pytest.File):
    def collect(self) -> list[pytest.Item]:
        return [_Skipped.from_parent(self, name="lightning")]


class _Skipped(pytest.Item):
    def runtest(self) -> None:
        pytest.skip(f"missing: {MISSING}, whose trainings are checkpointed here")
