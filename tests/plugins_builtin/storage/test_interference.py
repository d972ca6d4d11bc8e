"""The store of files among others: several at work at once, disks that fail, file systems that lack something."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import (
    CheckpointNotFoundError,
    IntegrityError,
    StorageError,
    StorageReadOnlyError,
)
from model_checkpoint.storage.file_store import FileStore
from model_checkpoint.storage.safetensors import open_safetensors
from model_checkpoint.testing.faulty_fs import FaultyFs, Killed, snapshot
from model_checkpoint.testing.storage_samples import contents, payload


class WithoutLinks(FaultyFs):
    """A file system such as FAT."""

    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")


class Interrupted(FaultyFs):
    """Lets something happen before one of its calls."""

    def __init__(self, happening: Callable[[], object]) -> None:
        super().__init__()
        self.happening, self.interrupt_in = happening, -1

    def step(self, name: str, work: Callable[[], object]) -> object:
        self.interrupt_in -= 1
        if self.interrupt_in == -1:
            self.happening()
        return super().step(name, work)


class Slow(FaultyFs):
    """Takes its time, so that others get far between two calls."""

    def step(self, name: str, work: Callable[[], object]) -> object:
        time.sleep(random.random() * 0.002)
        return super().step(name, work)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> FileStore:
    opened = open_safetensors(root, FsOps())
    assert isinstance(opened, FileStore)
    return opened


def test_a_writer_that_lives_is_never_cleaned_up_after(root: Path) -> None:
    """The collector comes between any two calls of a write."""

    class Meddling(FaultyFs):
        def step(self, name: str, work: Callable[[], object]) -> object:
            if self._locks:  # the writer has its folder
                other.collect()
            return super().step(name, work)

    other = open_safetensors(root, FsOps())
    store = open_safetensors(root, Meddling())
    for number in range(3):
        store.write(payload(f"c{number}"))
        assert contents(other.read(f"c{number}")) == contents(payload(f"c{number}"))
    assert store.forget("c1") > 0
    assert set(other.list_ids()) == {"c0", "c2"}


def test_a_reader_between_whose_calls_others_forget_and_write_sees_one_or_the_other(root: Path) -> None:
    other = open_safetensors(root, FsOps())
    old, new = payload("one", seed=1), payload("one", seed=2)
    fs = Interrupted(lambda: (other.forget("one"), other.write(new)))
    reader = open_safetensors(root, fs)
    other.write(old)
    for after in range(30):
        fs.interrupt_in = after
        assert contents(reader.read("one")) in (contents(old), contents(new))
        fs.interrupt_in = after
        assert reader.verify("one").ok
        if fs.interrupt_in >= 0:
            break
        other.forget("one")
        other.write(old)
    assert after >= 3


@pytest.mark.parametrize("look", ["read", "verify", "file_path"])
def test_a_slow_reader_never_takes_what_comes_and_goes_for_damage(root: Path, look: str) -> None:
    writer, reader = open_safetensors(root, FsOps()), open_safetensors(root, Slow())
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            writer.write(payload("one"))
            writer.forget("one")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(150):
            with contextlib.suppress(CheckpointNotFoundError):
                seen = getattr(reader, look)("one")
                assert look != "verify" or seen.ok, seen
    finally:
        done.set()
        thread.join()


def test_a_store_that_was_removed_while_it_was_open_begins_anew(store: FileStore, root: Path) -> None:
    store.write(payload("one"))
    shutil.rmtree(root)
    store.write(payload("two"))
    assert list(store.list_ids()) == ["two"]
    shutil.rmtree(root / "tmp")
    store.write(payload("three"))
    store.close()
    assert contents(store.read("three")) == contents(payload("three"))


def test_closing_twice_and_going_on_afterwards_are_allowed(store: FileStore) -> None:
    store.close()
    store.write(payload("one"))
    store.close()
    store.close()
    assert contents(store.read("one")) == contents(payload("one"))


def test_parent_and_forked_child_write_side_by_side(store: FileStore, root: Path) -> None:
    store.write(payload("before"))
    child = os.fork()
    if not child:
        try:
            store.write(payload("child"))
            store.collect()
            store.close()
        finally:
            os._exit(0)
    store.write(payload("parent"))
    assert os.waitpid(child, 0)[1] == 0
    store.write(payload("after"))
    assert set(store.list_ids()) == {"before", "child", "parent", "after"}
    assert all(store.verify(name).ok for name in store.list_ids())
    store.close()
    assert {name for name in snapshot(root) if name.startswith("tmp/")} == set()


def test_a_file_system_without_hard_links_keeps_the_promises_too(root: Path) -> None:
    store = open_safetensors(root, WithoutLinks())
    store.write(payload("one", seed=1))
    with pytest.raises(FileExistsError):
        store.write(payload("one", seed=2))
    assert contents(store.read("one")) == contents(payload("one", seed=1))
    assert store.forget("one") > 0
    with pytest.raises(CheckpointNotFoundError):
        store.read("one")
    store.close()
    assert snapshot(root) == {}


def test_what_a_killed_writer_left_without_hard_links_is_written_over(root: Path) -> None:
    fs = WithoutLinks()
    dying = open_safetensors(root, fs)
    fs.arm(after=0, fault=Killed(), before=False, lasting=True, only={"rename"})
    with pytest.raises(Killed):
        dying.write(payload("one", seed=1))
    fs.bury()
    store = open_safetensors(root, WithoutLinks())
    store.write(payload("one", seed=2))
    assert contents(store.read("one")) == contents(payload("one", seed=2))


def test_a_store_that_can_only_be_read_is_read(store: FileStore) -> None:
    """As on a read-only mount: every call that would change something is refused."""
    store.write(payload("one"))
    store.close()
    fs = FaultyFs()
    reader = open_safetensors(store.file_path("one").parents[1], fs)  # type: ignore[union-attr]
    changing = {"make_dirs", "create", "link", "unlink", "rename", "lock", "sync_dir", "remove_dir"}
    fs.arm(after=0, fault=OSError(errno.EROFS, "Read-only file system"), lasting=True, only=changing)
    assert contents(reader.read("one")) == contents(payload("one"))
    assert reader.verify("one").ok
    assert list(reader.list_ids()) == ["one"]
    with pytest.raises(CheckpointNotFoundError):
        reader.read("two")
    for change in (lambda: reader.write(payload("two")), lambda: reader.forget("one")):
        with pytest.raises(StorageReadOnlyError, match="Choose another checkpoint_dir"):
            change()
    reader.close()


def test_a_disk_that_fails_while_reading_is_not_called_damage(store: FileStore) -> None:
    store.write(payload("one"))
    path = store.file_path("one")
    assert path is not None
    fs = FaultyFs()
    reader = open_safetensors(path.parents[1], fs)
    for name in ("read", "open_regular"):
        fs.arm(after=0, fault=OSError(errno.EIO, "as told"), only={name})
        with pytest.raises(StorageError, match=r"reading .*one.* failed: as told. It was left as it is") as told:
            reader.read("one")
        assert not isinstance(told.value, IntegrityError)
        fs.arm(after=0, fault=OSError(errno.EIO, "as told"), only={name}, lasting=True)
        with pytest.raises(StorageError, match="as told") as told:
            reader.verify("one")
        assert not isinstance(told.value, IntegrityError)


@pytest.mark.parametrize("name", ["create", "write", "sync_file", "sync_dir", "link", "lock"])
def test_a_write_that_fails_leaves_no_file_of_its_own(name: str, root: Path) -> None:
    for after in range(20):
        fs = FaultyFs()
        store = open_safetensors(root, fs)
        fs.arm(after=after, fault=OSError(errno.EIO, "as told"), only={name})
        with contextlib.suppress(StorageError):
            store.write(payload("one"))
        if not fs.fired:
            break
        fs.disarm()
        left = set(snapshot(root)) - {"data/one.safetensors", "manifests/one.json"}
        assert {path for path in left if "one" in path} == set()
        if list(store.list_ids()):  # sweeping failed, which is no reason not to write
            store.forget("one")
        store.close()
        assert snapshot(root) == {}
    assert after > 0


def test_data_that_cannot_be_removed_after_a_failure_stays_uncommitted(root: Path) -> None:
    class KeepsData(FaultyFs):
        def unlink(self, path: Path) -> None:
            if path.parent.name == "data" and path.exists():
                raise OSError(errno.EIO, "as told")
            super().unlink(path)

    fs = KeepsData()
    store = open_safetensors(root, fs)
    fs.arm(after=1, fault=OSError(errno.EIO, "as told"), only={"link"})
    with pytest.raises(StorageError, match="as told"):
        store.write(payload("one"))
    fs.bury()
    assert (root / "data/one.safetensors").exists()
    other = open_safetensors(root, FsOps())
    with pytest.raises(CheckpointNotFoundError):
        other.read("one")
    other.collect()
    assert snapshot(root) == {}
