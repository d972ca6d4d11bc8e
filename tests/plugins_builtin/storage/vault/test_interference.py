"""The vault among others: what happens between two calls of a reader, a writer or a collection."""

from __future__ import annotations

import runpy
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import CheckpointExistsError, CheckpointNotFoundError, StorageError
from model_checkpoint.storage.vault.collect import Collector
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.storage.vault.store import VaultStore
from model_checkpoint.testing.faulty_fs import FaultyFs, Killed
from model_checkpoint.testing.record_samples import in_threads

Tidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))
made, reads, untidy, pack_digests = (Tidy[name] for name in ("made", "reads", "untidy", "pack_digests"))


class Interrupted(FaultyFs):
    """Lets something happen before one of its calls."""

    def __init__(self, happening: Callable[[], object]) -> None:
        super().__init__()
        self.happening, self.interrupt_in = happening, -1

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        self.interrupt_in -= 1
        if self.interrupt_in == -1:
            self.happening()
        return super().step(name, work)


@pytest.fixture
def root(folder: Path) -> Path:
    return folder / "store"


def opened(root: Path, fs: FsOps | None = None) -> VaultStore:
    store = open_vault(root, fs or FsOps())
    assert isinstance(store, VaultStore)
    return store


def moving(root: Path, source: str, target: str) -> Callable[[], None]:
    return lambda: move(root / source, root / target)


def move(source: Path, target: Path) -> None:
    for path in source.glob("*.safetensors"):
        path.rename(target / path.name)


@pytest.mark.parametrize(("begins", "ends"), [("packs", "trash"), ("trash", "packs")])
def test_a_reader_finds_a_pack_that_moves_between_its_calls(begins: str, ends: str, root: Path) -> None:
    """A save may need a pack that a collection is about to remove: then that puts it back."""
    store = opened(root)
    store.write(made("one", "AB"))
    for after in range(40):
        fs = Interrupted(moving(root, begins, ends))
        reader = opened(root, fs)
        moving(root, ends, begins)()
        fs.interrupt_in = after
        assert reads(reader, "one", "AB"), f"before call {after}"
        reader.close()
        if fs.interrupt_in >= 0:
            break
    moving(root, "trash", "packs")()
    store.collect()
    assert reads(store, "one", "AB")


def test_a_reader_between_whose_calls_a_pack_is_written_anew_finds_the_new_one(root: Path) -> None:
    def prepare() -> VaultStore:
        shutil.rmtree(root, ignore_errors=True)
        store = opened(root)
        store.write(made("old", "ABCD"))
        store.write(made("one", "D"))
        store.forget("old")
        return store

    for after in range(40):
        other = prepare()
        fs = Interrupted(other.collect)
        reader = opened(root, fs)
        fs.interrupt_in = after
        assert reads(reader, "one", "D"), f"before call {after}"
        if fs.interrupt_in >= 0:
            break
    assert after > 3


def test_threads_that_share_a_new_store_wait_for_its_folders(root: Path) -> None:
    """One of them makes the folders; another one must not write into them before."""
    second_is_done = threading.Event()

    class Slow(FsOps):
        def make_dirs(self, path: Path) -> None:
            if path.name == "packs":
                second_is_done.wait(0.5)
            super().make_dirs(path)

    store = opened(root, Slow())

    def work(number: int) -> None:
        if number:
            while not (root / "tmp").is_dir() or not [*(root / "tmp").glob("*/lock")]:
                second_is_done.wait(0.001)
        try:
            store.write(made(f"own-{number}", "ABC"[number:]))
        finally:
            if number:
                second_is_done.set()

    in_threads(2, work)
    assert reads(store, "own-0", "ABC")
    assert reads(store, "own-1", "BC")
    store.close()


def test_of_two_that_were_deleted_under_one_id_the_later_one_comes_back(root: Path) -> None:
    for attempt in range(8):
        store = opened(root / str(attempt))
        for letters in ("A", "B", "C"):
            store.write(made("one", letters))
            store.forget("one")
        store.restore("one")
        assert reads(store, "one", "C")
        store.close()


def test_a_deletion_is_taken_back_until_the_next_collection_and_never_over_another(root: Path) -> None:
    store = opened(root)
    store.write(made("one", "AB"))
    store.write(made("two", "B"))
    store.forget("one")
    store.restore("one")
    assert reads(store, "one", "AB")
    with pytest.raises(CheckpointNotFoundError):
        store.restore("one")
    store.forget("one")
    store.write(made("one", "C"))
    with pytest.raises(CheckpointExistsError):
        store.restore("one")
    assert reads(store, "one", "C")
    store.forget("one")
    store.collect()
    with pytest.raises(CheckpointNotFoundError):
        store.restore("one")
    store.close()
    assert untidy(root) == []


def test_a_collection_that_puts_a_pack_back_leaves_every_content_once(root: Path) -> None:
    """An earlier one moved the pack and died; a save had relied on it, and another one found it gone."""
    store, other = opened(root), opened(root)
    store.write(made("old", "AB"))
    store.forget("old")
    move(root / "packs", root / "trash")
    other.write(made("one", "A"))  # of trash nothing counts: it is written again
    (written,) = (root / "packs").iterdir()
    aside = root.parent / written.name
    written.rename(aside)
    move(root / "trash", root / "packs")
    opened(root).write(made("two", "AB"))  # it began before the pack moved, and relies on that
    move(root / "packs", root / "trash")
    aside.rename(written)
    fresh = opened(root)
    fresh.collect()
    for each in (store, other, fresh):
        each.close()
    assert reads(fresh, "one", "A")
    assert reads(fresh, "two", "AB")
    homes = [digest for digests in pack_digests(root / "packs").values() for digest in digests]
    assert sorted(homes) == sorted(set(homes)), "a content is in two packs after a collection"


def damage(path: Path) -> None:
    """Change every byte of a pack's tensors and none of its header."""
    raw = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(raw[:4096] + bytes(byte ^ 1 for byte in raw[4096:]))


def twice(root: Path, letters: str) -> tuple[Path, Path]:
    """Store the same tensors in two packs, as two saves that begin at once do; return them, the older one first."""
    names = []
    for number, each in enumerate(letters.split()):
        elsewhere = root.parent / f"elsewhere-{number}"
        store = opened(elsewhere)
        store.write(made(f"c{number}", each))
        store.close()
        (pack,) = (elsewhere / "packs").iterdir()
        for kind in ("packs", "manifests"):
            shutil.copytree(elsewhere / kind, root / kind, dirs_exist_ok=True)
        names.append(root / "packs" / pack.name)
    return names[0], names[1]


@pytest.mark.parametrize("bad", [0, 1])
def test_a_collection_that_sees_one_of_two_copies_damaged_keeps_the_other(bad: int, root: Path) -> None:
    """It reads what it writes anew, so it knows which of them is sound."""
    packs = twice(root, "ABCD D")
    (root / "manifests/c0.json").unlink()  # only D is needed, of the first pack and of the second one
    store = opened(root)
    assert reads(store, "c1", "D")
    damage(packs[bad])
    store.collect()
    store.close()
    assert reads(opened(root), "c1", "D")


def test_a_sound_copy_in_trash_is_not_removed_over_a_damaged_one(root: Path) -> None:
    """As an earlier collection left it, which did not wait for a save; until now readers find it there."""
    store = opened(root)
    store.write(made("one", "A"))
    moving(root, "packs", "trash")()
    store.write(made("two", "A"))
    (copy,) = (root / "packs").iterdir()
    damage(copy)
    store.collect()
    store.close()
    assert reads(opened(root), "one", "A")


def test_a_collection_that_began_before_a_save_waits_for_it_and_one_after_does_not_count(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Collector.__init__, "__defaults__", (30.0,))
    store, other = opened(root), opened(root)
    store.write(made("old", "AB"))
    store.forget("old")
    started, may_end = threading.Event(), threading.Event()
    with store._intents.announced(store._begin()):
        collector = threading.Thread(target=lambda: (started.set(), other.collect(), may_end.set()))
        collector.start()
        started.wait(10)
        assert not may_end.wait(0.2), "it did not wait"
        opened(root).write(made("late", "AB"))
    collector.join(10)
    assert may_end.is_set()
    assert reads(store, "late", "AB")


def test_the_intent_of_a_dead_process_holds_up_nobody(root: Path) -> None:
    store = opened(root)
    store.write(made("old", "AB"))
    fs = FaultyFs()
    dying = opened(root, fs)
    fs.arm(after=0, fault=Killed(), lasting=True, only={"link"})
    with pytest.raises(Killed):
        dying.write(made("new", "AC"))
    fs.bury()
    store.forget("old")
    assert len(list((root / "intents").iterdir())) == 1
    assert store.collect().nbytes_freed > 0
    store.close()
    assert untidy(root) == []


def test_an_unreadable_manifest_stops_a_collection_before_anything_moves(root: Path) -> None:
    store = opened(root)
    store.write(made("old", "AB"))
    store.write(made("one", "C"))
    store.forget("old")
    path = root / "manifests/one.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    packs = pack_digests(root / "packs")
    with pytest.raises(StorageError, match=r"nothing was cleaned up .* one\.json cannot be read"):
        store.collect()
    assert pack_digests(root / "packs") == packs
    path.write_bytes(whole)
    store.collect()
    assert reads(store, "one", "C")
    store.close()
    assert untidy(root) == []
