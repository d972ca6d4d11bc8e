"""Forked children, a full disk, half a store: what others have learnt the hard way."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import Buffer, CheckpointPayload
from model_checkpoint.errors import IntegrityError
from model_checkpoint.storage.vault.store import VaultStore


def payload(checkpoint_id: str, *tensors: np.ndarray) -> CheckpointPayload:
    buffers = [Buffer(f"t{n}", "uint8", data.shape, memoryview(data)) for n, data in enumerate(tensors)]
    return CheckpointPayload(checkpoint_id, {"objects": {}, "rng": {}}, tuple(buffers), {})


def noise(seed: int, nbytes: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, nbytes, np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VaultStore]:
    opened = VaultStore(tmp_path / "vault", FsOps())
    yield opened
    opened.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_and_its_parent_write_through_one_store(store: VaultStore) -> None:
    size = 6_000_000  # several segments, whose memory is reused
    store.write(payload("before", noise(0, size)))
    child = os.fork()
    name = "parent" if child else "child"
    for number in range(8):
        store.write(payload(f"{name}-{number}", noise(100 * bool(child) + number + 1, size)))
    if child == 0:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(store.list_ids())) == 17
    assert [name for name in store.list_ids() if not store.verify(name).ok] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_lives_on_holds_up_no_collection(store: VaultStore) -> None:
    store.write(payload("one", noise(1, 50_000)))
    child = os.fork()
    if child == 0:
        import time

        time.sleep(30)
        os._exit(0)
    try:
        store.forget("one")
        report = store.collect()
        assert report.skipped == ""
        assert report.nbytes_freed > 50_000
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


class Full(FsOps):
    """A disk on which nothing can be written any more."""

    full = False

    def write_at(self, file: IO[bytes], data: memoryview, offset: int) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "as told")
        return super().write_at(file, data, offset)


def test_a_full_disk_is_cleaned_up_as_far_as_that_needs_no_room(tmp_path: Path) -> None:
    fs = Full()
    store = VaultStore(tmp_path / "vault", fs)
    store.write(payload("gone", noise(1, 400_000)))
    store.write(payload("mixed", noise(2, 100_000), noise(3, 100_000)))
    store.write(payload("kept", noise(3, 100_000)))
    store.forget("gone")
    store.forget("mixed")
    fs.full = True
    report = store.collect()
    assert report.nbytes_freed >= 400_000
    assert "no room" in report.skipped
    assert store.verify("kept").ok
    fs.full = False
    assert store.collect().nbytes_freed >= 200_000
    assert store.verify("kept").ok
    store.close()


def test_half_a_store_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "vault"
    first = VaultStore(root, FsOps())
    first.write(payload("one", noise(1, 5000)))
    first.close()
    shutil.move(root / "manifests", tmp_path / "away")
    store = VaultStore(root, FsOps())
    for call in (store.collect, lambda: store.write(payload("two", noise(2, 5000)))):
        with pytest.raises(IntegrityError, match="manifests is gone"):
            call()
    assert len(list((root / "packs").iterdir())) == 1
    shutil.move(tmp_path / "away", root / "manifests")
    store.collect()
    assert store.verify("one").ok
    store.close()


def test_a_thousand_damaged_or_doubled_tensors_are_no_thousand_reads(store: VaultStore) -> None:
    tensors = [noise(seed, 100) for seed in range(1000)]
    store.write(payload("one", *tensors))
    opened, real = [], FsOps.open_regular
    (pack,) = (store._layout.root / "packs").iterdir()
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:-1])

    class Counting(FsOps):
        def open_regular(self, path: Path) -> IO[bytes]:
            file = real(self, path)
            opened.append(path)  # a name that is not there is no read
            return file

    again = VaultStore(store._layout.root, Counting())
    assert not again.verify("one").ok
    again.write(payload("two", *tensors))
    assert again.verify("one").ok
    assert len(opened) < 100
    again.close()
