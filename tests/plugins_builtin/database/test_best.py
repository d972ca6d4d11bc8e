"""Best flags when their holder is damaged, put back or deleted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model_checkpoint.contracts import RecordStore, RunRecord
from model_checkpoint.database.sqlite_open import open_store
from model_checkpoint.testing.record_samples import commit, new_run


@pytest.fixture
def store() -> Iterator[RecordStore]:
    store = open_store("sqlite:///:memory:")
    yield store
    store.close()


def holders(store: RecordStore, run: RunRecord) -> dict[str, tuple[str, float]]:
    return {metric: (flag.checkpoint_id, flag.value) for metric, flag in store.best_flags(run.id).items()}


def test_a_flag_goes_to_the_next_best_of_its_own_run(store: RecordStore) -> None:
    run, other = new_run(store), new_run(store)
    commit(store, other, "elsewhere", metrics={"loss": 0.0})
    commit(store, run, "c1", metrics={"loss": 3.0})
    commit(store, run, "c2", metrics={"loss": 2.0})
    commit(store, run, "c3", metrics={"loss": 1.0}, best=True)
    store.mark_damaged("c3", "bad")
    assert holders(store, run) == {"loss": ("c2", 2.0)}
    store.delete_checkpoint("c2")
    assert holders(store, run) == {"loss": ("c1", 3.0)}


def test_a_checkpoint_that_is_put_back_claims_only_what_it_deserves(store: RecordStore) -> None:
    run = new_run(store)
    commit(store, run, "c1", metrics={"loss": 1.0, "mae": 1.0, "wer": 1.0}, best=True)
    store.mark_damaged("c1", "bad")
    commit(store, run, "c2", metrics={"loss": 2.0, "mae": 0.5, "wer": 1.0}, best=True)
    store.mark_damaged("c1", "")
    assert holders(store, run) == {"loss": ("c1", 1.0), "mae": ("c2", 0.5), "wer": ("c1", 1.0)}


def test_where_all_are_damaged_nobody_is_best_and_the_direction_is_remembered(store: RecordStore) -> None:
    run = new_run(store)
    commit(store, run, "c1", metrics={"zeta": 2.0})
    commit(store, run, "c2", metrics={"zeta": 1.0}, best=True)
    for name in ("c1", "c2"):
        store.mark_damaged(name, "bad")
    assert holders(store, run) == {}
    store.delete_checkpoint("c2")
    assert holders(store, run) == {}
    store.mark_damaged("c1", "")
    assert store.best_flags(run.id)["zeta"].mode == "min"
    assert holders(store, run) == {"zeta": ("c1", 2.0)}


def test_integers_that_share_a_float_are_told_apart(store: RecordStore) -> None:
    run = new_run(store)
    for number, value in enumerate((2**60 + 3, 2**60 + 1, 2**60 + 2)):
        commit(store, run, f"c{number}", metrics={"loss": value})
    commit(store, run, "best", metrics={"loss": 2**60}, best=True)
    store.mark_damaged("best", "bad")
    assert holders(store, run) == {"loss": ("c1", 2**60 + 1)}
    store.mark_damaged("best", "")
    assert holders(store, run) == {"loss": ("best", 2**60)}


def test_what_is_not_finite_inherits_nothing(store: RecordStore) -> None:
    run = new_run(store)
    for name, value in (("nan", float("nan")), ("minus", float("-inf"))):
        commit(store, run, name, metrics={"loss": value})
    commit(store, run, "best", metrics={"loss": 1.0}, best=True)
    store.delete_checkpoint("best")
    assert holders(store, run) == {}


def test_marking_twice_and_clearing_what_was_not_marked_change_nothing(store: RecordStore) -> None:
    run = new_run(store)
    commit(store, run, "c1", metrics={"loss": 2.0}, best=True)
    commit(store, run, "c2", metrics={"loss": 1.0}, best=True)
    store.mark_damaged("c1", "")
    assert holders(store, run) == {"loss": ("c2", 1.0)}
    for _ in range(2):
        store.mark_damaged("c2", "bad")
        assert holders(store, run) == {"loss": ("c1", 2.0)}
