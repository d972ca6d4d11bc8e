"""Deleting a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest

from model_checkpoint.errors import CheckpointNotFoundError, OperationVetoed, RecordStoreError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel


def test_files_and_record_go_and_the_events_tell_it(memory_kernel: Kernel) -> None:
    seen: list[Any] = []
    events = [HookEvent.BEFORE_CHECKPOINT_DELETE, HookEvent.AFTER_CHECKPOINT_DELETE]
    memory_kernel.hooks.register_hook("see", seen.append, events)
    saved = memory_kernel.save({"a": [0.5] * 100})
    nbytes = memory_kernel.checkpoint(saved).nbytes_written
    freed = memory_kernel.delete(saved, reason="too old")
    assert [(c.event, c.checkpoint_id, c.reason) for c in seen] == [(event, saved, "too old") for event in events]
    assert (seen[0].nbytes, seen[1].nbytes_freed) == (nbytes, freed)
    assert freed > 0
    assert list(memory_kernel.backends.open("memory").list_ids()) == []
    with pytest.raises(CheckpointNotFoundError):
        memory_kernel.load(saved)


def test_a_veto_keeps_everything(memory_kernel: Kernel) -> None:
    saved = memory_kernel.save({"a": 1})
    memory_kernel.hooks.register_hook("no", lambda context: False, [HookEvent.BEFORE_CHECKPOINT_DELETE])
    with pytest.raises(OperationVetoed, match="before_checkpoint_delete was vetoed by no"):
        memory_kernel.delete(saved)
    assert memory_kernel.load(saved)["a"] == 1


def test_a_deletion_that_broke_off_after_the_files_can_be_asked_for_again(
    memory_kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = memory_kernel.save({"a": 1})

    def fail(checkpoint_id: str) -> None:
        raise RecordStoreError("busy")

    with monkeypatch.context() as patch:
        patch.setattr(memory_kernel.records, "delete_checkpoint", fail)
        with pytest.raises(RecordStoreError):
            memory_kernel.delete(saved)
    assert memory_kernel.delete(saved) == 0
    assert memory_kernel.checkpoints() == []


def test_the_next_save_after_deleting_everything_works(memory_kernel: Kernel) -> None:
    memory_kernel.delete(memory_kernel.save({"a": 1}, step=1))
    saved = memory_kernel.save({"a": 2}, step=1)
    assert memory_kernel.load("latest").checkpoint_id == saved
