"""Values that are allowed and odd, or wrong and quiet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import model_checkpoint.engine as mc
from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
from model_checkpoint.contracts import RunStatus
from model_checkpoint.errors import ConfigurationError, IntegrityError, RecordStoreDamagedError, RecordStoreError


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[EnhancedCheckpointManager]:
    made = EnhancedCheckpointManager(f"sqlite:///{tmp_path}/e.db", experiment="s", quiet=True)
    yield made
    made.close()


def test_an_int_beyond_every_float_can_be_a_metric_and_the_best(manager: EnhancedCheckpointManager) -> None:
    first = manager.save_checkpoint(state={"w": 1}, loss=10**400)
    second = manager.save_checkpoint(state={"w": 2}, loss=10**399)

    assert first is not None
    assert manager.get_checkpoint(first).metrics["loss"] == 10**400
    assert manager.is_best_checkpoint(second, "loss")


def test_a_metric_name_that_is_no_text_for_a_file_is_still_saved(manager: EnhancedCheckpointManager) -> None:
    saved = manager.save_checkpoint(state={"w": 1}, metrics={"\ud800loss": 1.0})

    assert saved is not None
    assert manager.get_checkpoint(saved).best_for == ("\ud800loss",)


def test_a_run_ends_by_the_word_of_a_status_and_by_no_other(tmp_path: Path) -> None:
    run = mc.start("s", database_url=f"sqlite:///{tmp_path}/e.db", quiet=True)
    run.save(w=1)
    with pytest.raises(ConfigurationError, match="use finished, failed, crashed, preempted"):
        run.finish("running")
    with pytest.raises(ConfigurationError, match="'x' is no end of a run"):
        run.finish("x")
    assert len(run.checkpoints()) == 1
    run.finish("failed")
    with EnhancedCheckpointManager(f"sqlite:///{tmp_path}/e.db", quiet=True) as manager:
        assert [r.status for r in manager.kernel.records.list_runs()] == [RunStatus.FAILED]


def test_the_file_of_a_damaged_checkpoint_is_not_given_out(manager: EnhancedCheckpointManager) -> None:
    saved = manager.save_checkpoint(state={"w": 1})
    assert saved is not None
    manager.get_checkpoint_path(saved)
    manager.kernel.records.mark_damaged(saved, "a bit flipped")

    with pytest.raises(IntegrityError, match=r"marked as damaged.*a bit flipped"):
        manager.get_checkpoint_path(saved)


@pytest.mark.parametrize("replace", [False, True], ids=["removed", "replaced"])
def test_a_database_that_was_taken_away_takes_no_more_saves(tmp_path: Path, replace: bool) -> None:
    manager = EnhancedCheckpointManager(f"sqlite:///{tmp_path}/e.db", experiment="s", quiet=True)
    manager.save_checkpoint(state={"w": 1})
    os.rename(tmp_path / "e.db", tmp_path / "away.db")
    if replace:
        (tmp_path / "e.db").touch()
    with pytest.raises(RecordStoreError, match="was removed or replaced while it was open"):
        manager.save_checkpoint(state={"w": 2})
    os.replace(tmp_path / "away.db", tmp_path / "e.db")
    assert manager.save_checkpoint(state={"w": 3}) is not None
    manager.close()


def test_a_row_that_is_no_json_any_more_is_said_to_be_damaged(
    manager: EnhancedCheckpointManager, tmp_path: Path
) -> None:
    import sqlite3

    saved = manager.save_checkpoint(state={"w": 1}, metadata={"a": 1})
    assert saved is not None
    with sqlite3.connect(tmp_path / "e.db") as connection:
        connection.execute("update checkpoints set metadata = '{bad'")
    connection.close()
    with pytest.raises(RecordStoreDamagedError, match="no JSON any more"):
        manager.get_checkpoint(saved)


@pytest.mark.parametrize("state", [[1], 5, "abc"], ids=str)
def test_a_state_that_is_no_mapping_is_refused(manager: EnhancedCheckpointManager, state: object) -> None:
    with pytest.raises(ConfigurationError, match="state= is a mapping"):
        manager.save_checkpoint(state=state)  # type: ignore[arg-type]
