"""A save that does not get to its end: what is left, what is put back, and that the next one works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.contracts import CheckpointPayload, WriteReceipt
from model_checkpoint.errors import (
    CheckpointExistsError,
    ConfigurationError,
    MetricError,
    OperationVetoed,
    RecordStoreError,
    UnstorableStateError,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel, hookimpl

ENDS = (HookEvent.AFTER_CHECKPOINT_SAVE, HookEvent.ON_CHECKPOINT_SAVE_ERROR)


def opened(folder: Path, **options: Any) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", quiet=True, **options)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with opened(tmp_path, strict=True) as kernel:
        yield kernel


def listen(kernel: Kernel, *events: HookEvent) -> list[Any]:
    seen: list[Any] = []
    kernel.hooks.register_hook("listen", seen.append, list(events))
    return seen


def stored(kernel: Kernel) -> set[str]:
    return set(kernel.backends.open(kernel.backends.default).list_ids())


def recorded(kernel: Kernel) -> set[str]:
    return {record.id for record in kernel.records.list_checkpoints()}


class Interrupting:
    """A storage backend that is interrupted as a write returns: what it stored is complete."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def write(self, payload: CheckpointPayload) -> WriteReceipt:
        self.backend.write(payload)
        raise KeyboardInterrupt


def kill_between_write_and_commit(folder: Path) -> None:
    """Resume the run ``long`` in a process of its own, and kill it when its next checkpoint is stored, not recorded."""
    script = folder / "train.py"
    script.write_text(
        textwrap.dedent("""
        import os, signal, sys
        from model_checkpoint.kernel import Kernel, hookimpl

        class Killer:
            @hookimpl
            def before_db_write(self, context):
                if context.table == "checkpoints":
                    os.kill(os.getpid(), signal.SIGKILL)

        with Kernel.open("sqlite:///e.db", quiet=True, register=[Killer()]) as kernel:
            kernel.start_run("s", run="long")
            kernel.save({"a": 1}, epoch=0, step=1)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_checkpoint_whose_process_was_killed_before_its_commit_harms_no_later_save(tmp_path: Path) -> None:
    for _ in range(8):  # more often than there are lengths of an id's tail
        kill_between_write_and_commit(tmp_path)
    with opened(tmp_path, strict=True) as kernel:
        kernel.start_run("s", run="long")
        orphans = stored(kernel)
        assert len(orphans) == 8
        assert recorded(kernel) == set()
        saved = [kernel.save({"a": n}, epoch=0, step=1) for n in range(3)]
        assert recorded(kernel) == set(saved)
        assert orphans.isdisjoint(saved)
        assert [kernel.load(each)["a"] for each in saved] == [0, 1, 2]


def test_another_record_store_in_the_same_directory_is_no_hindrance(tmp_path: Path) -> None:
    names = set()
    for database in "abc":
        url = f"sqlite:///{tmp_path}/{database}.db"
        with Kernel.open(url, checkpoint_dir=tmp_path / "c", quiet=True) as kernel, kernel.run("s"):
            names.add(kernel.save({"a": database}, step=1))
    assert len(names) == 3


def test_an_interrupt_while_the_backend_writes_leaves_nothing(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kernel.save({"a": 1}, step=1)
    seen = listen(kernel, *ENDS)
    with monkeypatch.context() as patch:
        name = kernel.backends.default
        patch.setitem(kernel.backends._open, name, Interrupting(kernel.backends.open(name)))
        with pytest.raises(KeyboardInterrupt):
            kernel.save({"a": 2}, step=2)
    assert stored(kernel) == recorded(kernel) == {first}
    assert [(context.event, context.stage, context.cleaned_up) for context in seen] == [(ENDS[1], "write", True)]
    kernel.save({"a": 2}, step=2)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RecordStoreError("the disk is on fire")])
def test_what_fails_in_the_commit_leaves_nothing(
    kernel: Kernel, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = listen(kernel, *ENDS)
    kernel.start_run("s")

    def fail(*arguments: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(kernel.records, "commit_checkpoint", fail)
        with pytest.raises(type(error)):
            kernel.save({"a": 1}, step=1)
    assert stored(kernel) == set()
    assert [(context.event, context.stage, context.cleaned_up) for context in seen] == [(ENDS[1], "commit", True)]


def test_an_interrupt_after_the_commit_keeps_the_checkpoint_and_its_files(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.start_run("s")
    commit = kernel.records.commit_checkpoint

    def interrupted(*arguments: Any, **options: Any) -> None:
        commit(*arguments, **options)
        raise KeyboardInterrupt

    seen = listen(kernel, *ENDS)
    with monkeypatch.context() as patch:
        patch.setattr(kernel.records, "commit_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kernel.save({"a": 1}, step=1)
    assert seen == []
    (saved,) = stored(kernel)
    assert recorded(kernel) == {saved}
    assert kernel.load("latest")["a"] == 1
    assert kernel.checkpoint(kernel.save({"a": 2}, step=2)).parent_id == saved


def test_a_strict_hook_that_fails_after_the_commit_loses_no_data(kernel: Kernel) -> None:
    def fail(context: Any) -> None:
        if context.table == "checkpoints":
            raise ZeroDivisionError

    kernel.hooks.register_hook("fail", fail, [HookEvent.AFTER_DB_WRITE])
    with pytest.raises(ZeroDivisionError):
        kernel.save({"a": 1}, step=1)
    kernel.hooks.unregister_hook("fail")
    assert kernel.load("latest")["a"] == 1
    assert stored(kernel) == recorded(kernel)


def test_where_the_record_store_cannot_tell_nothing_is_removed(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = listen(kernel, *ENDS)
    kernel.start_run("s")

    def fail(*arguments: object, **options: object) -> None:
        raise RecordStoreError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(kernel.records, "commit_checkpoint", fail)
        patch.setattr(kernel.records._store, "get_checkpoint", lambda name: fail() if name in stored(kernel) else None)
        with pytest.raises(RecordStoreError):
            kernel.save({"a": 1}, step=1)
    assert len(stored(kernel)) == 1
    assert not seen[0].cleaned_up
    assert "whether it is recorded is unknown" in caplog.text


def test_a_strict_hook_that_fails_before_the_save_ends_it_with_an_error_event(kernel: Kernel) -> None:
    seen = listen(kernel, *ENDS)
    kernel.hooks.register_hook("fail", lambda context: 1 / 0, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    with pytest.raises(ZeroDivisionError):
        kernel.save({"a": 1})
    assert [(context.event, context.stage) for context in seen] == [(ENDS[1], "before")]


def test_a_failing_error_hook_does_not_hide_the_error(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    kernel.hooks.register_hook("fail", lambda context: 1 / 0, [HookEvent.ON_CHECKPOINT_SAVE_ERROR])
    with pytest.raises(UnstorableStateError):
        kernel.save({"a": print})
    assert "a hook on the failed save failed too: ZeroDivisionError" in caplog.text


def test_metrics_of_a_save_that_failed_go_into_the_next_one(kernel: Kernel) -> None:
    kernel.log_metrics({"lr": 0.1, "mae": 1.0}, step=1)
    with pytest.raises(UnstorableStateError):
        kernel.save({"a": print}, step=1)
    kernel.hooks.register_hook("no", lambda context: False, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    with pytest.raises(OperationVetoed):
        kernel.save({"a": 1}, step=1)
    kernel.hooks.unregister_hook("no")
    kernel.log_metrics({"mae": 2.0}, step=2)
    assert kernel.checkpoint(kernel.save({"a": 1}, step=2)).metrics == {"lr": 0.1, "mae": 2.0}
    assert kernel.checkpoint(kernel.save({"a": 1}, step=3)).metrics == {}


def test_metrics_that_are_logged_during_a_save_go_into_the_next_one(kernel: Kernel) -> None:
    def log(context: Any) -> None:
        kernel.log_metrics({"late": 1.0, "mae": 2.0}, step=1)

    kernel.log_metrics({"mae": 1.0}, step=1)
    kernel.hooks.register_hook("log", log, [HookEvent.ON_CHECKPOINT_STAGED])
    first = kernel.save({"a": 1}, step=1)
    kernel.hooks.unregister_hook("log")
    second = kernel.save({"a": 1}, step=2)
    assert kernel.checkpoint(first).metrics == {"mae": 1.0}
    assert kernel.checkpoint(second).metrics == {"late": 1.0, "mae": 2.0}


def test_an_id_that_a_hook_chooses_is_used_once(kernel: Kernel) -> None:
    class Chooses:
        @hookimpl
        def make_checkpoint_id(self, context: Any) -> str:
            return f"epoch-{context.epoch}"

    kernel.plugins.add(Chooses())
    assert kernel.save({"a": 1}, epoch=1) == "epoch-1"
    with pytest.raises(CheckpointExistsError, match="make_checkpoint_id chose 'epoch-1', which is recorded already"):
        kernel.save({"a": 2}, epoch=1)
    kernel.backends.open(kernel.backends.default).write(CheckpointPayload("epoch-2", {}, [], {}))
    lengthened = kernel.save({"a": 3}, epoch=2)
    assert lengthened.startswith("epoch-2-")
    assert kernel.load(lengthened)["a"] == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metadata": {"note": {"best": [1.0, float("nan")]}}}, ConfigurationError, r"metadata\.note\.best\[1\]: nan"),
        ({"metadata": {"limit": float("-inf")}}, ConfigurationError, r"metadata\.limit: -inf"),
        ({"metadata": {"fn": print}}, UnstorableStateError, r"metadata\.fn"),
        ({"metadata": ["a"]}, ConfigurationError, "metadata is a list: give a mapping"),
        ({"tags": "candidate"}, ConfigurationError, r"tags='candidate' is a str: give a list of labels"),
        ({"tags": 3}, ConfigurationError, "tags=3 is a int"),
        ({"tags": [1]}, ConfigurationError, "these are not: 1: ''"),
        ({"tags": {"a": None}}, ConfigurationError, "these are not: 'a': None"),
        ({"metrics": ["loss"]}, ConfigurationError, "metrics is a list: give a mapping"),
        ({"step": 1.5}, MetricError, "step=1.5"),
        ({"epoch": float("nan")}, MetricError, "epoch=nan"),
        ({"loss": "low"}, MetricError, "'loss' is no number"),
    ],
)
def test_what_cannot_be_recorded_is_named_before_anything_is_announced_or_written(
    kernel: Kernel, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    seen = listen(kernel, HookEvent.BEFORE_CHECKPOINT_SAVE, *ENDS)
    with pytest.raises(error, match=message):
        kernel.save({"a": 1}, **arguments)
    assert seen == []
    assert stored(kernel) == set()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("metadata", {"x": float("inf")}, r"metadata\.x: inf"),
        ("tags", {3: ""}, "tags are strings"),
        ("metrics", {"loss": "low"}, "no number"),
    ],
)
def test_what_a_hook_puts_into_a_dict_is_checked_before_anything_is_written(
    kernel: Kernel, field: str, value: object, message: str
) -> None:
    def spoil(context: object) -> None:
        context[field].update(value)  # type: ignore[index]

    seen = listen(kernel, *ENDS)
    kernel.hooks.register_hook("spoil", spoil, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    with pytest.raises(ValueError, match=message):
        kernel.save({"a": 1})
    assert [(context.event, context.stage) for context in seen] == [(ENDS[1], "capture")]
    assert stored(kernel) == set()


def test_metadata_of_python_s_own_types_comes_back_as_it_was(kernel: Kernel) -> None:
    metadata = {"betas": (0.9, 0.999), "where": Path("x"), "nested": {"big": 2**70}}
    saved = kernel.save({"a": 1}, metadata=metadata)
    assert kernel.checkpoint(saved).metadata == metadata


def test_only_a_mapping_can_be_saved(kernel: Kernel) -> None:
    with pytest.raises(ConfigurationError, match="is a mapping of names to objects, not a list"):
        kernel.save([1, 2])  # type: ignore[arg-type]


def test_a_name_that_no_file_can_have_moves_no_pointer_and_fails_no_save(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    saved = kernel.save({"a": 1}, metrics={"x" * 400 + "_loss": 1.0, "val_loss": 0.5})
    folder = kernel.config.storage.checkpoint_dir / "runs" / kernel.current_run().name
    assert (folder / "latest").read_text().strip() == saved
    assert (folder / "best-val_loss").read_text().strip() == saved
    assert "could not be moved" in caplog.text


def test_a_run_name_of_any_length_gives_ids_that_can_be_stored(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("x" * 128)
        saved = kernel.save({"a": 1}, epoch=10_000, step=10**9)
        assert len(saved) <= 128
        assert kernel.load(saved)["a"] == 1
        assert os.listdir(tmp_path / "checkpoints")
