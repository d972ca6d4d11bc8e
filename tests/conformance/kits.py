"""Runs a kit by hand on a plugin and says which of its rules failed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

Given = Callable[[], dict[str, object]]


def rules_of(module: ModuleType) -> set[int]:
    """Return the numbers of the rules in a module's docstring."""
    return {int(number) for number in re.findall(r"^(\d+)\. ", module.__doc__ or "", flags=re.MULTILINE)}


def tests_of(kit: type) -> dict[str, Any]:
    """Return the tests of a kit by name."""
    return {name: test for name, test in vars(kit).items() if name.startswith("test_")}


def cases(test: Callable[..., None]) -> Iterator[dict[str, object]]:
    """Yield the arguments of every case that the test's mark asks for."""
    for mark in getattr(test, "pytestmark", []):
        yield from ({mark.args[0]: value} for value in mark.args[1])
        return
    yield {}


def rules_failed(kit: type, given: Given) -> dict[int, str]:
    """Run every test of `kit`, each with what `given` makes anew, and return the rules of those that failed."""
    failed = {}
    for name, test in tests_of(kit).items():
        wanted = inspect.signature(test).parameters
        for arguments in cases(test):
            values = {"self": kit(), **given(), **arguments}
            try:
                test(**{key: value for key, value in values.items() if key in wanted})
            except pytest.skip.Exception:
                continue
            except (Exception, pytest.fail.Exception) as error:
                failed[test.rule] = f"{name}: {error!r}"
    return failed
