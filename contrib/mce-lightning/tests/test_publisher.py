"""No pointer moves, and nothing is deleted, before what it waits for is durable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mce_lightning import MceCheckpointIO

from model_checkpoint.errors import ConfigurationError
from model_checkpoint.hooks import HookEvent


def state(step: int) -> dict[str, object]:
    return {"state_dict": {"w": torch.full((4,), float(step))}, "epoch": 0, "global_step": step, "loops": {}}


@pytest.fixture
def io(tmp_path: Path) -> Iterator[MceCheckpointIO]:
    io = MceCheckpointIO(f"sqlite:///{tmp_path}/x.db", experiment="fit")
    yield io
    io.close()


def test_what_a_path_led_to_stays_until_its_successor_is_durable(io: MceCheckpointIO, tmp_path: Path) -> None:
    path, go_on = tmp_path / "last.ckpt", threading.Event()
    io.save_checkpoint(state(1), path)
    io.teardown()
    io.kernel.hooks.register_hook("slow", lambda context: go_on.wait(20), [HookEvent.AFTER_CHECKPOINT_SAVE], priority=1)
    before = path.read_bytes()
    io.save_checkpoint(state(2), path)
    io.remove_checkpoint(tmp_path / "other.ckpt")
    assert path.read_bytes() == before
    assert io.exists(path)
    go_on.set()
    io.teardown()
    assert io.load_checkpoint(path)["global_step"] == 2
    assert [record.step for record in io.kernel.checkpoints()] == [2]


def test_a_failed_save_is_raised_and_leaves_what_was_there(
    io: MceCheckpointIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old.ckpt", tmp_path / "new.ckpt"
    io.save_checkpoint(state(1), old)
    io.teardown()
    backend = io.kernel.services.backends.open("vault")

    def broken(payload: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(backend, "write", broken)
    io.save_checkpoint(state(2), new)
    io.remove_checkpoint(old)
    with pytest.raises(OSError, match="no space left"):
        io.teardown()
    monkeypatch.undo()
    assert io.load_checkpoint(old)["global_step"] == 1
    assert not io.exists(new)


def test_a_file_that_is_not_ours_is_removed_as_lightning_does(io: MceCheckpointIO, tmp_path: Path) -> None:
    path = tmp_path / "theirs.ckpt"
    torch.save(state(1), path)
    io.remove_checkpoint(path)
    assert not path.exists()


def test_a_pointer_that_is_torn_is_no_pointer(io: MceCheckpointIO, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    io.save_checkpoint(state(1), path)
    io.teardown()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(Exception, match=r"(?i)load|pickle|invalid|corrupt"):
        io.load_checkpoint(path)


def test_loading_onto_a_device_moves_every_tensor(io: MceCheckpointIO, tmp_path: Path) -> None:
    io.save_checkpoint(state(1), tmp_path / "a.ckpt")
    loaded = io.load_checkpoint(tmp_path / "a.ckpt", map_location="meta")
    assert loaded["state_dict"]["w"].is_meta


def test_storage_options_are_refused(io: MceCheckpointIO, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="storage_options"):
        io.save_checkpoint(state(1), tmp_path / "a.ckpt", storage_options={"mode": "x"})
