"""A store is checked while others save and delete: what they have under way is no damage and no loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.errors import CheckpointNotFoundError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True, strict=True) as kernel:
        kernel.start_run("s", run="r")
        yield kernel


@pytest.fixture
def ids(kernel: Kernel) -> list[str]:
    """Three checkpoints in the order in which they are checked."""
    return sorted(kernel.save({"w": step}, step=step) for step in range(3))


def at_the_check_of(kernel: Kernel, checkpoint_id: str, work: Callable[[], object]) -> None:
    def see(context: Any) -> None:
        if context.checkpoint_id == checkpoint_id:
            work()

    kernel.hooks.register_hook(f"at-{checkpoint_id}", see, [HookEvent.BEFORE_INTEGRITY_CHECK])


@pytest.fixture
def failures(kernel: Kernel) -> list[Any]:
    """What was told of damage."""
    heard: list[Any] = []
    kernel.hooks.register_hook("failures", heard.append, [HookEvent.ON_INTEGRITY_FAILURE])
    return heard


@pytest.mark.parametrize("turn", [0, 1])
def test_what_is_deleted_meanwhile_is_neither_damaged_nor_missing(
    turn: int, kernel: Kernel, ids: list[str], failures: list[Any]
) -> None:
    at_the_check_of(kernel, ids[turn], lambda: kernel.delete(ids[1]))
    report = kernel.check_store()
    assert report.ok, report
    assert report.verified == (ids[0], ids[2])
    assert failures == []


def test_a_deletion_that_is_half_done_is_no_damage(kernel: Kernel, ids: list[str], failures: list[Any]) -> None:
    at_the_check_of(kernel, ids[1], lambda: kernel.backends.open("vault").forget(ids[1]))
    at_the_check_of(kernel, ids[2], lambda: kernel.records.delete_checkpoint(ids[1]))
    assert kernel.check_store().ok
    assert failures == []


def test_a_deletion_that_broke_off_is_missing_and_can_be_asked_for_again(
    kernel: Kernel, ids: list[str], failures: list[Any]
) -> None:
    at_the_check_of(kernel, ids[1], lambda: kernel.backends.open("vault").forget(ids[1]))
    for _ in range(2):  # during the check, and before it
        report = kernel.check_store()
        assert (report.missing, report.damaged) == ((ids[1],), {})
    assert kernel.checkpoint(ids[1]).damage == ""
    assert failures == []
    kernel.hooks.unregister_hook(f"at-{ids[1]}")
    kernel.delete(ids[1])
    assert kernel.check_store().ok


def test_a_save_that_is_recorded_meanwhile_is_not_unrecorded(kernel: Kernel, ids: list[str]) -> None:
    kernel.records.delete_checkpoint(ids[0])
    at_the_check_of(kernel, ids[1], kernel.rebuild)
    assert kernel.check_store().unrecorded == ()


def test_one_that_is_deleted_while_it_is_verified_is_not_found(
    kernel: Kernel, ids: list[str], failures: list[Any]
) -> None:
    at_the_check_of(kernel, ids[1], lambda: kernel.delete(ids[1]))
    with pytest.raises(CheckpointNotFoundError):
        kernel.verify(ids[1])
    assert failures == []


def test_what_a_backend_holds_that_is_not_available_is_neither_lost_nor_damaged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/e.db"
    with Kernel.open(url, storage_backend="safetensors", quiet=True) as kernel:
        kernel.save({"w": 1})
    with Kernel.open(url, plugins=["sqlite", "vault", "metrics"], quiet=True) as kernel:
        report = kernel.check_store()
        assert (report.missing, report.damaged, report.unavailable) == ((), {}, {"safetensors": 1})
        assert report.ok
