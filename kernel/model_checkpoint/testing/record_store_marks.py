"""The part of the kit for record stores that is about marks and about records that were lost: rules 13 and 14."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_checkpoint.contracts import Mark, RecordStore, RunStatus
from model_checkpoint.errors import CheckpointNotFoundError, ConfigurationError, InvalidNameError
from model_checkpoint.testing.record_samples import TEXTS, commit, generation, new_run, rule


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
    def test_a_run_comes_back_under_its_own_id(self, store: RecordStore) -> None:
        experiment = store.ensure_experiment("digits")
        lost = replace(new_run(store), id="its own", name="digits-77", status=RunStatus.CRASHED, generation=4)
        store.restore_run(lost)
        found = store.get_run("its own")
        assert found is not None
        assert (found.name, found.generation, found.status) == ("digits-77", 4, RunStatus.CRASHED)
        assert found.experiment_id == experiment.id
        commit(store, found, "c5")
        record = store.get_checkpoint("c5")
        assert record is not None
        assert record.sequence == 5
        store.restore_run(replace(lost, generation=9, name="ignored"))
        assert generation(store, found) == 9
        with pytest.raises(InvalidNameError):
            store.restore_run(replace(lost, id="another"))
