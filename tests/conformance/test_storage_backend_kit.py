"""The kit for storage backends catches a broken backend for every rule, and blames no other rule for it."""

from __future__ import annotations

import inspect
import itertools
import re
import runpy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import storage
from model_checkpoint.storage.safetensors import open_safetensors
from model_checkpoint.testing.storage_backend import StorageBackendTests
from model_checkpoint.testing.storage_samples import Opener

BROKEN = runpy.run_path(str(Path(__file__).with_name("broken_storage_backends.py")))["BROKEN"]
RULES = {int(number) for number in re.findall(r"^(\d+)\. ", storage.__doc__ or "", flags=re.MULTILINE)}
TESTS = {name: test for name, test in vars(StorageBackendTests).items() if name.startswith("test_")}


class Kit(StorageBackendTests):
    start_method = "fork"  # the broken backends live in a file that a fresh process cannot import


Kit.__test__ = False  # run by hand below


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: the kit waits for the disk most of its time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


def cases(test: Callable[..., None]) -> Iterator[dict[str, object]]:
    """Yield the arguments of every case that the test's mark asks for."""
    for mark in getattr(test, "pytestmark", []):
        yield from ({mark.args[0]: value} for value in mark.args[1])
        return
    yield {}


def rules_failed(open_backend: Opener, folder: Path) -> dict[int, str]:
    """Run every test of the kit on backends that `open_backend` makes; return the rules of those that failed."""
    failed, number = {}, itertools.count()
    for name, test in TESTS.items():
        wanted = inspect.signature(test).parameters
        for arguments in cases(test):
            root = folder / str(next(number)) / "store"
            backend = open_backend(root, FsOps()) if "backend" in wanted else None
            given = {"self": Kit(), "backend": backend, "root": root, "open_backend": open_backend} | arguments
            try:
                test(**{key: value for key, value in given.items() if key in wanted})
            except (Exception, pytest.fail.Exception) as error:
                failed[test.rule] = f"{name}: {error!r}"
            finally:
                if backend is not None:
                    backend.close()
    return failed


def test_every_rule_of_the_contract_has_a_test_and_a_broken_backend() -> None:
    assert {test.rule for test in TESTS.values()} == set(BROKEN) == RULES


def test_the_whole_backend_fails_no_rule(folder: Path) -> None:
    assert rules_failed(open_safetensors, folder) == {}


@pytest.mark.parametrize("number", sorted(BROKEN), ids=lambda number: f"{number}-{BROKEN[number].__name__}")
def test_a_backend_that_breaks_one_rule_fails_the_tests_of_this_rule_alone(number: int, folder: Path) -> None:
    failed = rules_failed(BROKEN[number], folder)
    assert set(failed) == {number}, failed
