"""Saves that return as soon as the state is copied: what is stored, in which order, and who hears of a failure."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import KernelError, StorageError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

BACKENDS = ("vault", "safetensors", "pytorch")


class HeldDisk(FsOps):
    """A disk that makes nothing durable before it is let go, and fails while it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.broken = False

    def sync_file(self, file: IO[bytes]) -> None:
        assert self.go.wait(20)
        if self.broken:
            raise OSError(errno.EIO, "as told")
        super().sync_file(file)


@pytest.fixture
def disk() -> Iterator[HeldDisk]:
    held = HeldDisk()
    yield held
    held.go.set()


def opened(folder: Path, disk: FsOps, backend: str = "vault") -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", storage_backend=backend, quiet=True, strict=True, fs=disk)


@pytest.fixture
def kernel(tmp_path: Path, disk: HeldDisk) -> Iterator[Kernel]:
    kernel = opened(tmp_path, disk)
    kernel.start_run("s", run="r")
    kernel.save({"w": np.zeros(3)}, step=0)
    yield kernel
    disk.go.set()
    disk.broken = False
    kernel._saver.wait()
    kernel._saver.log_failures()
    kernel.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_stored_is_the_state_at_the_call(tmp_path: Path, disk: HeldDisk, backend: str) -> None:
    with opened(tmp_path, disk, backend) as kernel:
        weights = np.arange(500_000, dtype=np.float32)
        kernel.save({"w": weights}, step=0)
        disk.go.clear()
        saved = kernel.save({"w": weights}, step=1, wait=False)
        weights[:] = -1.0
        assert kernel.pending_saves == (saved,)
        disk.go.set()
        assert kernel.wait(saved).step == 1
        assert kernel.pending_saves == ()
        assert np.array_equal(kernel.load(saved)["w"], np.arange(500_000, dtype=np.float32))


def test_saves_become_durable_in_their_order_and_each_continues_the_one_before(kernel: Kernel) -> None:
    saved = [kernel.save({"w": np.full(1000, step)}, wait=False) for step in range(6)]
    records = [kernel.checkpoint(each) for each in saved]
    assert len(set(saved)) == 6
    assert [record.sequence for record in records] == [2, 3, 4, 5, 6, 7]
    assert [record.parent_id for record in records[1:]] == saved[:-1]
    assert [kernel.load(each)["w"][0] for each in saved] == [0, 1, 2, 3, 4, 5]


def test_the_third_save_waits_for_room(kernel: Kernel, disk: HeldDisk) -> None:
    disk.go.clear()
    for step in (1, 2):
        kernel.save({"w": np.zeros(3)}, step=step, wait=False)
    third = threading.Thread(target=lambda: kernel.save({"w": np.zeros(3)}, step=3, wait=False))
    third.start()
    third.join(0.3)
    assert third.is_alive()
    assert len(kernel.pending_saves) == 2
    disk.go.set()
    third.join(20)
    assert [record.step for record in kernel.checkpoints()] == [3, 2, 1, 0]


def test_a_failure_is_raised_to_who_waits_and_to_nobody_else(kernel: Kernel, disk: HeldDisk) -> None:
    disk.broken = True
    saved = kernel.save({"w": np.ones(3)}, step=1, wait=False)
    with pytest.raises(StorageError, match="as told"):
        kernel.wait(saved)
    disk.broken = False
    kernel.save({"w": np.ones(3)}, step=2)
    assert [record.step for record in kernel.checkpoints()] == [2, 0]


@pytest.mark.parametrize("call", ["save", "log", "close"])
def test_a_failure_that_nobody_waited_for_is_raised_by_the_next_call(tmp_path: Path, disk: HeldDisk, call: str) -> None:
    kernel = opened(tmp_path, disk)
    kernel.save({"w": np.zeros(3)}, step=0)
    disk.broken = True
    saved = kernel.save({"w": np.ones(3)}, step=1, wait=False)
    kernel._saver.wait()
    disk.broken = False
    calls = {
        "save": lambda: kernel.save({"w": np.ones(3)}, step=2),
        "log": lambda: kernel.log_metrics({"loss": 1.0}),
        "close": kernel.close,
    }
    with pytest.raises(StorageError, match="as told") as raised:
        calls[call]()
    assert saved in "".join(raised.value.__notes__)
    kernel.close()


def test_a_failure_does_not_hide_what_ended_the_block(
    tmp_path: Path, disk: HeldDisk, caplog: pytest.LogCaptureFixture
) -> None:
    def train() -> None:
        with opened(tmp_path, disk) as kernel:
            kernel.save({"w": np.zeros(3)}, step=0)
            disk.broken = True
            kernel.save({"w": np.ones(3)}, step=1, wait=False)
            kernel._saver.wait()
            disk.broken = False
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert "the non-blocking save of checkpoint" in caplog.text


def test_closing_waits_until_everything_is_durable(tmp_path: Path, disk: HeldDisk) -> None:
    with opened(tmp_path, disk) as kernel:
        saved = [kernel.save({"w": np.full(100_000, step)}, step=step, wait=False) for step in range(2)]
    with opened(tmp_path, disk) as again:
        assert [again.load(each)["w"][0] for each in saved] == [0, 1]


def test_asking_for_the_latest_waits_for_it(kernel: Kernel) -> None:
    saved = kernel.save({"w": np.full(100_000, 7)}, step=1, val_loss=0.5, wait=False)
    assert kernel.load("latest").checkpoint_id == saved
    saved = kernel.save({"w": np.full(100_000, 8)}, step=2, val_loss=0.1, wait=False)
    best = kernel.best("val_loss")
    assert best is not None
    assert best.id == saved


def test_a_hook_of_such_a_save_cannot_save_and_says_so(kernel: Kernel) -> None:
    def save_again(context: object) -> None:
        kernel.save({"w": 1})

    kernel.hooks.register_hook("again", save_again, [HookEvent.AFTER_CHECKPOINT_SAVE])
    kernel.save({"w": 1}, step=1, wait=False)
    kernel._saver.wait()
    kernel.hooks.unregister_hook("again")
    with pytest.raises(KernelError, match="a hook of a non-blocking save cannot save"):
        kernel.save({"w": 2}, step=2)


def test_a_veto_in_the_saving_thread_is_logged(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    kernel.hooks.register_hook("no", lambda context: False, [HookEvent.BEFORE_DB_WRITE])
    saved = kernel.save({"w": 1}, step=1, wait=False)
    kernel._saver.wait()
    kernel.hooks.unregister_hook("no")
    assert f"checkpoint {saved} was not saved" in caplog.text
    kernel.save({"w": 1}, step=2)
    assert not kernel.backends.open("vault").holds(saved)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_waits_for_none_of_its_parents_saves(kernel: Kernel, disk: HeldDisk) -> None:
    disk.go.clear()
    kernel.save({"w": np.zeros(3)}, step=1, wait=False)
    child = os.fork()
    if child == 0:
        os._exit(0 if kernel.pending_saves == () and len(kernel._saver._stages) == 2 else 1)
    _, status = os.waitpid(child, 0)
    disk.go.set()
    assert os.waitstatus_to_exitcode(status) == 0


def test_an_unstorable_state_is_refused_before_the_call_returns(kernel: Kernel) -> None:
    for _ in range(4):  # and the memory for copies is not lost
        with pytest.raises(TypeError, match="cannot be stored"):
            kernel.save({"w": object()}, step=1, wait=False)
    kernel.save({"w": np.zeros(3)}, step=1, wait=False)
    assert [record.step for record in kernel.checkpoints()] == [1, 0]


def test_an_async_hook_of_such_a_save_asks_for_what_is_there_and_waits_for_nothing(kernel: Kernel) -> None:
    seen: list[object] = []

    async def look(context: object) -> None:
        seen.append(kernel.best("val_loss"))

    kernel.hooks.register_hook("look", look, [HookEvent.AFTER_CHECKPOINT_SAVE])
    saved = kernel.save({"w": 1}, step=1, val_loss=0.5, wait=False)
    assert kernel.wait(saved).step == 1
    kernel.hooks.unregister_hook("look")
    assert [getattr(one, "id", None) for one in seen] == [saved]


def test_metadata_is_that_of_the_call(kernel: Kernel, disk: HeldDisk) -> None:
    metadata = {"history": [1]}
    disk.go.clear()
    saved = kernel.save({"w": 1}, step=1, metadata=metadata, wait=False)
    metadata["history"].append(2)
    disk.go.set()
    assert kernel.wait(saved).metadata == {"history": [1]}


def test_where_no_thread_can_be_started_the_save_is_finished_at_once(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    saved = kernel.save({"w": np.ones(3)}, step=1, wait=False)
    assert kernel.pending_saves == ()
    assert kernel.checkpoint(saved).step == 1


def test_what_is_stored_under_an_id_and_not_recorded_is_never_removed_by_a_save_that_breaks_off(
    tmp_path: Path, disk: HeldDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, disk) as kernel:
        kernel.start_run("s", run="r")
        stored = kernel.save({"w": 1}, step=1)
    for path in tmp_path.glob("e.db*"):
        path.unlink()
    with opened(tmp_path, disk) as kernel:
        kernel.start_run("s", run="r")
        backend = kernel.backends.open("vault")

        def interrupted(payload: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(backend, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kernel.save({"w": 2}, step=1)
        monkeypatch.undo()
        assert backend.holds(stored)
