"""The part of the kit for record stores that is about marks and about records that were lost: rules 13 and 14."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from model_checkpoint.contracts import BestFlag, Mark, RecordStore, RunStatus, Versioned
from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    ConfigurationError,
    InvalidNameError,
)
from model_checkpoint.testing.record_samples import TEXTS, a_record, commit, generation, ids, new_run, rule


class MarkTests:
    """Part of ``RecordStoreTests``."""

    @rule(13)
    def test_the_last_mark_of_a_kind_and_name_holds(self, store: RecordStore) -> None:
        run = new_run(store)
        commit(store, run, "c1", tags={"a": "1", "b": "2"})
        commit(store, run, "c2", tags={"a": "1"})
        for mark in (
            Mark("c1", "pin"),
            Mark("c1", "tag", "a", "new"),
            Mark("c1", "tag", "b", None),
            Mark("c1", "note", "", "first"),
            Mark("c1", "note", "", "second"),
            Mark("c1", "alias", "prod"),
            Mark("c1", "alias", "old"),
            Mark("c1", "alias", "old", None),
            Mark("c1", "tag", "never there", None),
        ):
            store.mark(mark)
        record, other = store.get_checkpoint("c1"), store.get_checkpoint("c2")
        assert record is not None
        assert (record.pinned, record.note, record.aliases, dict(record.tags)) == (
            True,
            "second",
            ("prod",),
            {"a": "new"},
        )
        assert other is not None
        assert (other.pinned, other.note, other.aliases, dict(other.tags)) == (False, "", (), {"a": "1"})
        for kind in ("pin", "note"):
            store.mark(Mark("c1", kind, "", None))
        record = store.get_checkpoint("c1")
        assert record is not None
        assert (record.pinned, record.note) == (False, "")

    @rule(13)
    def test_a_mark_of_any_text_is_read_back(self, store: RecordStore) -> None:
        run = new_run(store)
        commit(store, run, "c1")
        for text in TEXTS:
            store.mark(Mark("c1", "note", "", text))
            record = store.get_checkpoint("c1")
            assert record is not None
            assert record.note == text

    @rule(13)
    def test_an_alias_is_found_in_its_experiment(self, store: RecordStore) -> None:
        run = new_run(store)
        other = store.create_run(store.ensure_experiment("elsewhere").id)
        commit(store, run, "c1")
        commit(store, other, "c2")
        for checkpoint_id in ("c1", "c2"):
            store.mark(Mark(checkpoint_id, "alias", "prod"))
        found = store.find_alias("prod", experiment_id=run.experiment_id)
        assert found is not None
        assert found.id == "c1"
        assert store.find_alias("nobody") is None
        anywhere = store.find_alias("prod")
        assert anywhere is not None
        assert anywhere.id == "c2"

    @rule(13)
    def test_a_mark_on_nothing_or_of_no_kind_is_refused(self, store: RecordStore) -> None:
        commit(store, new_run(store), "c1")
        with pytest.raises(CheckpointNotFoundError):
            store.mark(Mark("nobody", "pin"))
        with pytest.raises(ConfigurationError, match="of tomorrow"):
            store.mark(Mark("c1", "of tomorrow"))

    @rule(13)
    def test_a_mark_goes_with_its_checkpoint(self, store: RecordStore) -> None:
        run = new_run(store)
        commit(store, run, "c1")
        store.mark(Mark("c1", "alias", "prod"))
        store.delete_checkpoint("c1")
        assert store.find_alias("prod") is None

    @rule(14)
    def test_a_lost_checkpoint_comes_back_with_its_run_and_its_number(self, store: RecordStore) -> None:
        experiment = store.ensure_experiment("digits")
        lost = replace(new_run(store), id="its own", name="digits-77", status=RunStatus.CRASHED)
        fifth = a_record(lost, "c5", sequence=5, metrics={"val_loss": 0.5}, tags={"a": "b"})
        flag = BestFlag(lost.id, "val_loss", "min", "c5", 0.5)
        assert store.restore_checkpoint(fifth, run=lost, best=[flag]).sequence == 5
        found = store.get_run("its own")
        assert found is not None
        assert (found.name, found.generation, found.status) == ("digits-77", 5, RunStatus.CRASHED)
        assert found.experiment_id == experiment.id
        record = store.get_checkpoint("c5")
        assert record is not None
        assert (record.sequence, record.tags, record.best_for) == (5, {"a": "b"}, ("val_loss",))
        assert commit(store, found, "c6").sequence == 6

    @rule(14)
    def test_an_older_one_takes_its_place_and_one_whose_place_is_taken_the_next(self, store: RecordStore) -> None:
        run = new_run(store)
        for name in ("c1", "c2", "c3"):
            commit(store, run, name)
        second = store.get_checkpoint("c2")
        assert second is not None
        store.delete_checkpoint("c2")
        assert store.restore_checkpoint(second, run=run, best=[]).sequence == 2
        assert generation(store, run) == 3
        assert ids(store.list_checkpoints(run_id=run.id)) == ["c3", "c2", "c1"]
        assert store.restore_checkpoint(a_record(run, "orphan", sequence=2), run=run, best=[]).sequence == 4
        assert commit(store, run, "c5").sequence == 5

    @rule(14)
    def test_what_cannot_come_back_changes_nothing(self, store: RecordStore) -> None:
        run = new_run(store)
        record = commit(store, run, "c1")
        with pytest.raises(CheckpointExistsError):
            store.restore_checkpoint(record, run=run, best=[])
        another = replace(run, id="another")
        with pytest.raises(InvalidNameError):
            store.restore_checkpoint(a_record(another, "c9", sequence=9), run=another, best=[])
        assert generation(store, run) == 1
        assert store.get_run("another") is None
        assert store.get_checkpoint("c9") is None

    @rule(15)
    def test_the_version_is_another_one_after_every_write(
        self, store: RecordStore, url: str, open_store: Callable[[str], RecordStore]
    ) -> None:
        if not isinstance(store, Versioned) or store.version() is None:
            pytest.skip("its answers are not kept in memory")
        seen = [store.version()]

        def is_new() -> bool:
            seen.append(store.version())
            return seen[-1] not in seen[:-1] and store.version() == seen[-1]

        run = new_run(store)
        assert is_new()
        commit(store, run, "c1")
        assert is_new()
        store.mark(Mark("c1", "pin"))
        assert is_new()
        other = open_store(url)
        try:
            other.mark_damaged("c1", "gone")
            assert is_new()
            other.delete_checkpoint("c1")
            assert is_new()
        finally:
            other.close()
