"""Every write to the record store is announced, and ends in exactly one event."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.contracts import BestFlag, EventRecord, MetricPoint, RunStatus
from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    InvalidNameError,
    OperationVetoed,
    RecordStoreBusyError,
    StorageFullError,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

EVENTS = (HookEvent.BEFORE_DB_WRITE, HookEvent.AFTER_DB_WRITE, HookEvent.ON_DB_ERROR)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    url = f"sqlite:///{tmp_path}/e.db"
    with Kernel.open(url, storage_backend="memory", strict=True, quiet=True) as kernel, kernel.run("s"):
        yield kernel


def listen(kernel: Kernel) -> list[Any]:
    seen: list[Any] = []
    kernel.hooks.register_hook("listen", seen.append, EVENTS)
    return seen


def test_every_kind_of_write_is_announced_and_told(kernel: Kernel) -> None:
    saved, run, records = kernel.save({"a": 1}), kernel.current_run(), kernel.records
    seen = listen(kernel)
    home = records.ensure_experiment("other")
    records.create_run(home.id)
    records.update_run(run.id, status=RunStatus.RUNNING)
    records.append_metrics([MetricPoint(run.id, "x", 1.0, 1, 0.0), MetricPoint(run.id, "x", 2.0, 2, 0.0)])
    records.append_event(EventRecord(run.id, "alarm", 0.0))
    records.mark_damaged(saved, "a byte differs")
    records.delete_checkpoint(saved)
    before, after = seen[::2], seen[1::2]
    assert [context.event for context in before] == [EVENTS[0]] * 7
    assert [context.event for context in after] == [EVENTS[1]] * 7
    writes = [(context.table, context.operation) for context in before]
    assert writes == [
        ("experiments", "ensure"), ("runs", "insert"), ("runs", "update"), ("metrics", "insert"), ("events", "insert"),
        ("checkpoints", "mark"), ("checkpoints", "delete"),
    ]  # fmt: skip
    assert [(context.table, context.operation) for context in after] == writes
    assert (
        [len(context.rows) for context in before] == [context.row_count for context in after] == [1, 1, 1, 2, 1, 1, 1]
    )
    assert all(context.duration_s > 0 for context in after)


def test_what_belongs_to_one_write_shares_an_operation(kernel: Kernel) -> None:
    seen = listen(kernel)
    kernel.hooks.register_hook(
        "note", lambda context: context.user_data.setdefault("noted", True), [EVENTS[0]], priority=0
    )
    kernel.records.ensure_experiment("a")
    kernel.records.ensure_experiment("b")
    operations = [context.operation_id for context in seen]
    assert operations[0] == operations[1] != operations[2] == operations[3]
    assert all(context.user_data == {"noted": True} for context in seen)


def test_reading_is_not_announced(kernel: Kernel) -> None:
    saved = kernel.save({"a": 1}, loss=1.0)
    seen, records, run = listen(kernel), kernel.records, kernel.current_run()
    assert records.get_experiment("s")
    assert records.get_run(run.name)
    assert records.list_runs()
    assert records.get_checkpoint(saved)
    assert records.list_checkpoints(run_id=run.id)
    assert records.best_flags(run.id)
    assert records.best_checkpoint(metric="loss", mode="min")
    assert records.read_metrics(run.id) == []
    assert records.read_events() == []
    assert records.query_checkpoints("metrics.loss < 2")
    assert records.url.startswith("sqlite:///")
    assert seen == []


@pytest.mark.parametrize(
    "error",
    [
        RecordStoreBusyError("locked"),
        StorageFullError("no space left"),
        CheckpointExistsError("taken"),
        InvalidNameError("taken"),
        CheckpointNotFoundError("gone"),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_ends_in_an_error_event_and_is_raised(
    kernel: Kernel, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = listen(kernel)

    def fail(*arguments: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(kernel.records._store, "mark_damaged", fail)
        with pytest.raises(type(error)):
            kernel.records.mark_damaged("x", "y")
    assert [context.event for context in seen] == [EVENTS[0], EVENTS[2]]
    assert (seen[1].operation, seen[1].error, seen[1].will_retry) == ("mark checkpoints", error, False)
    assert seen[0].operation_id == seen[1].operation_id


def test_a_veto_writes_nothing_and_is_no_error(kernel: Kernel) -> None:
    seen = listen(kernel)
    kernel.hooks.register_hook("no", lambda context: context.table != "experiments", [EVENTS[0]])
    with pytest.raises(OperationVetoed, match="before_db_write was vetoed by no"):
        kernel.records.ensure_experiment("never")
    assert [context.event for context in seen] == [EVENTS[0]]
    assert kernel.records.get_experiment("never") is None


def test_a_commit_that_another_process_was_faster_than_is_tried_again(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.save({"a": 1}, val_loss=0.5)
    seen = listen(kernel)
    store, commit, raced = kernel.records._store, kernel.records._store.commit_checkpoint, []

    def slow(record: Any, **options: Any) -> Any:
        if not raced:
            raced.append(True)
            other = replace(record, id="other", metrics={"val_loss": 0.2}, step=99)
            flag = BestFlag(record.run_id, "val_loss", "min", "other", 0.2)
            commit(other, best=[flag], expected_generation=options["expected_generation"])
        return commit(record, **options)

    monkeypatch.setattr(store, "commit_checkpoint", slow)
    saved = kernel.save({"a": 2}, val_loss=0.3)
    assert kernel.checkpoint(saved).best_for == ()
    assert [record.id for record in kernel.checkpoints()][:2] == [saved, "other"]
    assert [(context.event, context.get("will_retry")) for context in seen] == [
        (EVENTS[0], None), (EVENTS[2], True), (EVENTS[0], None), (EVENTS[1], None),
    ]  # fmt: skip
