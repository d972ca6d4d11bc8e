"""The kit for record stores catches a broken store for every rule, and blames no other rule for it."""

from __future__ import annotations

import inspect
import itertools
import re
import runpy
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_checkpoint.contracts import RecordStore, records
from model_checkpoint.testing.record_store import RecordStoreTests

BROKEN = runpy.run_path(str(Path(__file__).with_name("broken_record_stores.py")))["BROKEN"]
RULES = {int(number) for number in re.findall(r"^(\d+)\. ", records.__doc__ or "", flags=re.MULTILINE)}
TESTS = {name: getattr(RecordStoreTests, name) for name in dir(RecordStoreTests) if name.startswith("test_")}


class Kit(RecordStoreTests):
    start_method = "fork"  # the broken stores live in a file that a fresh process cannot import

    def make_newer(self, url: str) -> None:
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute("UPDATE mce_schema_version SET version_num = '9999'")
        connection.close()


Kit.__test__ = False  # run by hand below


def cases(test: Callable[..., None]) -> Iterator[dict[str, object]]:
    """Yield the arguments of every case that the test's marks ask for."""
    for mark in getattr(test, "pytestmark", []):
        names = (
            [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else list(mark.args[0])
        )
        for values in mark.args[1]:
            yield dict(zip(names, values if len(names) > 1 else [values], strict=True))
        return
    yield {}


def rules_failed(open_store: Callable[[str], RecordStore], directory: Path) -> set[int]:
    """Run every test of the kit on stores that `open_store` makes; return the rules of those that failed."""
    failed, number = set(), itertools.count()
    for test in TESTS.values():
        wanted = inspect.signature(test).parameters
        for arguments in cases(test):
            url = f"sqlite:///{directory}/{next(number)}.db"
            store = open_store(url) if "store" in wanted else None
            given = {"store": store, "url": url, "open_store": open_store} | arguments
            try:
                test(Kit(), **{name: value for name, value in given.items() if name in wanted})
            except (Exception, pytest.fail.Exception):
                failed.add(test.rule)
            finally:
                if store is not None:
                    store.close()
    return failed


def test_every_rule_of_the_contract_has_a_test_and_a_broken_store() -> None:
    assert {test.rule for test in TESTS.values()} == set(BROKEN) == RULES


@pytest.mark.parametrize("number", sorted(BROKEN), ids=lambda number: f"{number}-{BROKEN[number].__name__}")
def test_a_store_that_breaks_one_rule_fails_the_tests_of_this_rule_alone(number: int, tmp_path: Path) -> None:
    assert rules_failed(BROKEN[number], tmp_path) == {number}
