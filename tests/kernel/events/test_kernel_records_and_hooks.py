"""The events of a start, a failure, records and hooks, seen in their public operations: in order, every field."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from pathlib import Path

import pytest

from event_log import EXECUTION, HIGH_LEVEL, Log, anything, empty, is_error, positive, watcher
from model_checkpoint.errors import OperationVetoed, RecordStoreError, StorageFullError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.hooks.contexts import Context
from model_checkpoint.kernel import Kernel, hookimpl
from model_checkpoint.testing.faulty_fs import FaultyFs


def test_a_kernel_that_opens_and_closes(tmp_path: Path) -> None:
    seen: list[Context] = []
    log = Log(seen)
    events = {"on_system_start", "on_system_shutdown", "before_plugin_load", "after_plugin_load", "on_plugin_error"}
    events |= {"after_plugin_unload"}
    kernel = Kernel.open(
        f"sqlite:///{tmp_path}/e.db",
        checkpoint_dir=tmp_path,
        quiet=True,
        plugins=["sqlite", "memory"],
        storage_backend="memory",
        early=[watcher(seen, events)],
    )
    log.take("after_plugin_load", name="watcher", version="", duration_s=positive, hooks=tuple(sorted(events)))
    for name, hook in (("memory", "register_storage_backends"), ("sqlite", "register_record_stores")):
        log.take(
            "before_plugin_load",
            name=name,
            version=anything,
            distribution="model-checkpoint-engine",
            origin="builtin",
            manifest=lambda value: "summary" in value,
        )
        log.take("after_plugin_load", name=name, version=anything, hooks=(hook,), duration_s=positive)
    log.take(
        "on_system_start",
        config=kernel.config,
        plugins=["memory", "sqlite", "watcher"],
        kernel_version=anything,
        kernel_api=lambda value: str(value)[0].isdigit(),
    )

    class Wrong:
        @hookimpl
        def register_analyzers(self) -> list[object]:
            return [1]

    with pytest.raises(ImportError):
        kernel.plugins.add(Wrong())
    log.take("before_plugin_load", name="Wrong", version="", distribution="", origin="script", manifest=None)
    log.take(
        "on_plugin_error",
        plugin="Wrong",
        hook="load",
        error=is_error(ImportError),
        timed_out=empty,
        consecutive=empty,
        quarantined=empty,
    )
    kernel.close()
    log.take("on_system_shutdown", reason="finished", deadline_s=None)
    for name in ("sqlite", "memory", "watcher"):
        log.take("after_plugin_unload", name=name, reason="the kernel closes", hooks=anything)
    assert log.names() == []


def test_a_save_that_fails_and_one_that_is_vetoed(tmp_path: Path) -> None:
    seen: list[Context] = []
    log, fs = Log(seen), FaultyFs()
    with Kernel.open(
        f"sqlite:///{tmp_path}/e.db",
        checkpoint_dir=tmp_path / "c",
        quiet=True,
        fs=fs,
        register=[watcher(seen, HIGH_LEVEL)],
    ) as kernel:
        kernel.start_run("digits")
        kernel.save({"x": 1}, step=1)
        seen.clear()
        fs.arm(after=0, fault=OSError(errno.ENOSPC, "full"), lasting=True, only={"create", "write"})
        with pytest.raises(StorageFullError):
            kernel.save({"x": 2}, step=2, epoch=1)
        fs.disarm()
        assert log.names() == ["before_checkpoint_save", "on_checkpoint_staged", "on_checkpoint_save_error"]
        before, staged = seen.pop(0), seen.pop(0)
        log.operation(
            before,
            staged,
            log.take(
                "on_checkpoint_save_error",
                kernel.records.get_run("digits-1"),
                error=is_error(StorageFullError),
                stage="write",
                epoch=1,
                step=2,
                file_path=None,
                cleaned_up=True,
            ),
        )
        kernel.hooks.register_hook("no", lambda context: False, [HookEvent.BEFORE_CHECKPOINT_SAVE])
        with pytest.raises(OperationVetoed):
            kernel.save({"x": 3}, step=3)
        assert log.names() == ["before_checkpoint_save"], "a veto is an end of its own"


def test_writing_records(tmp_path: Path) -> None:
    seen: list[Context] = []
    log = Log(seen)
    with Kernel.open(
        f"sqlite:///{tmp_path}/e.db",
        checkpoint_dir=tmp_path / "c",
        quiet=True,
        storage_backend="memory",
        register=[watcher(seen, {"before_db_write", "after_db_write", "on_db_error"})],
    ) as kernel:
        kernel.start_run("digits")
        pairs = [(context.table, context.operation) for context in seen if context.event == "before_db_write"]
        assert pairs[:2] == [("experiments", "ensure"), ("runs", "insert")]
        seen.clear()
        saved = kernel.save({"x": 1}, step=1)
        before = log.take(
            "before_db_write",
            table="checkpoints",
            operation="insert",
            rows=lambda rows: [row.id for row in rows] == [saved],
        )
        after = log.take("after_db_write", table="checkpoints", operation="insert", row_count=1, duration_s=positive)
        assert before.operation_id == after.operation_id
        with contextlib.closing(sqlite3.connect(tmp_path / "e.db")) as other, other:
            other.execute("CREATE TRIGGER no BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(ABORT, 'not today'); END")
        seen.clear()
        with pytest.raises(RecordStoreError, match="not today"):
            kernel.save({"x": 2}, step=2)
        begun = [context for context in seen if context.event == "before_db_write"]
        log.seen[:] = [context for context in seen if context.event == "on_db_error"]
        failed = log.take(
            "on_db_error", operation="insert checkpoints", error=is_error(Exception), attempt=1, will_retry=False
        )
        assert failed.operation_id in {context.operation_id for context in begun}


def test_hooks_that_are_called_and_one_that_fails(tmp_path: Path) -> None:
    seen: list[Context] = []
    log = Log(seen)
    with Kernel.open(
        f"sqlite:///{tmp_path}/e.db",
        checkpoint_dir=tmp_path / "c",
        quiet=True,
        storage_backend="memory",
    ) as kernel:
        kernel.start_run("digits")
        kernel.hooks.register_hook("bad", lambda context: 1 / 0, [HookEvent.ON_CHECKPOINT_STAGED], priority=25)
        kernel.plugins.add(watcher(seen, {*EXECUTION, "on_plugin_error"}))
        kernel.save({"x": 1})
        ours = [context for context in seen if context.plugin == "bad"]
        log.seen[:] = ours
        log.take("before_plugin_execute", plugin="bad", hook="on_checkpoint_staged", priority=25)
        log.seen.sort(key=lambda context: context.event.value, reverse=True)  # which comes first is no promise
        log.take(
            "on_plugin_error",
            plugin="bad",
            hook="on_checkpoint_staged",
            error=is_error(ZeroDivisionError),
            timed_out=False,
            consecutive=1,
            quarantined=False,
        )
        log.take(
            "after_plugin_execute", plugin="bad", hook="on_checkpoint_staged", outcome="error", duration_s=positive
        )
        assert log.names() == []
