"""Whatever byte of a vault changes, and wherever a file of it is cut off: no wrong value, and always an error of ours.

Each case lays down the same small store anew, damages one file, and lets fresh stores check and read everything.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import CheckpointPayload, StorageBackend
from model_checkpoint.errors import CheckpointNotFoundError, StorageError
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.testing.faulty_fs import snapshot
from model_checkpoint.testing.storage_samples import buffer, contents, payload

IN_FULL = os.environ.get("MCE_FULL") == "1"
FLIPS, CUTS = (None, None) if IN_FULL else (1000, 500)
"""How many bytes to flip and lengths to cut to; None for all of them."""
LONGEST_S = 5.0
Damage = Callable[[bytes], bytes]


def checkpoints() -> list[CheckpointPayload]:
    """Two that share their first tensor; the packs hold whole pages, odd lengths and nothing at all."""
    shared = buffer("model.frozen", "float32", (3, 5), seed=1)
    first = [shared, buffer("model.head", "uint8", (37,), seed=2), buffer("model.none", "float32", (0,), seed=3)]
    second = [shared, buffer("model.head", "uint8", (37,), seed=4)]
    return [
        replace(payload("first"), tree={"objects": {}}, buffers=tuple(first)),
        replace(payload("second"), tree={"objects": {"n": [1, None, "x"]}}, buffers=tuple(second)),
    ]


EXPECTED = {one.checkpoint_id: contents(one) for one in checkpoints()}


@pytest.fixture
def whole(folder: Path) -> dict[str, bytes]:
    """The files of the sound store, by relative path."""
    root = folder / "whole"
    store = open_vault(root, FsOps())
    for one in checkpoints():
        store.write(one)
    store.close()
    files = snapshot(root)
    shutil.rmtree(root)
    return files


def lay_down(files: dict[str, bytes], root: Path) -> None:
    """Put a whole store where a damaged one was."""
    shutil.rmtree(root, ignore_errors=True)
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def is_right(store: StorageBackend, checkpoint_id: str, depth: str) -> bool:
    """Read and say whether it could be read; what is given out is what was written."""
    try:
        found = store.read(checkpoint_id, depth=depth)
    except (StorageError, CheckpointNotFoundError):
        return False
    assert contents(found) == EXPECTED[checkpoint_id]
    return True


def check(root: Path) -> None:
    """See that the damage is found, and that nothing wrong is given out before or after."""
    started = time.monotonic()
    store = open_vault(root, FsOps())
    reports = {name: store.verify(name, depth="full") for name in EXPECTED}
    fast = {name: store.verify(name, depth="fast").ok for name in EXPECTED}
    assert not all(report.ok for report in reports.values()), "the damage was not found"
    assert fast == {name: report.ok for name, report in reports.items()}
    for name, report in reports.items():
        assert report.ok or report.bad_parts
        assert is_right(store, name, "full") >= report.ok
    store.close()
    again = open_vault(root, FsOps())
    for name, report in reports.items():
        for depth in ("fast", "full"):
            assert is_right(again, name, depth) >= report.ok, "a sound checkpoint was lost over a damaged one"
        for depth in ("stat", "header"):
            again.verify(name, depth=depth)
    again.close()
    assert time.monotonic() - started < LONGEST_S


def evidence(files: dict[str, bytes]) -> list[str]:
    """Return the names of the files that somebody relies on."""
    return [name for name in files if name.startswith(("packs/", "manifests/")) or name == "FORMAT"]


def some(cases: list[tuple[str, int]], count: int | None, chosen: random.Random) -> list[tuple[str, int]]:
    return cases if count is None else sorted(chosen.sample(cases, count))


def damages(files: dict[str, bytes], count: int | None, chosen: random.Random) -> Iterator[tuple[str, int]]:
    yield from some([(name, at) for name in evidence(files) for at in range(len(files[name]))], count, chosen)


def run(files: dict[str, bytes], root: Path, name: str, damage: Damage) -> None:
    lay_down({**files, name: damage(files[name])}, root)
    try:
        check(root)
    except BaseException as error:
        error.add_note(f"damaged: {name}")
        raise


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_the_sound_store_reads(whole: dict[str, bytes], folder: Path) -> None:
    lay_down(whole, folder / "store")
    store = open_vault(folder / "store", FsOps())
    assert all(is_right(store, name, depth) for name in EXPECTED for depth in ("fast", "full"))
    store.close()
    assert len(evidence(whole)) == 5


def test_every_byte_flipped_is_found(whole: dict[str, bytes], folder: Path) -> None:
    chosen = random.Random(1)
    for name, at in damages(whole, FLIPS, chosen):
        bit = chosen.randrange(8)
        run(whole, folder / "store", name, lambda data, at=at, bit=bit: flipped(data, at, bit))


def test_every_length_cut_is_found(whole: dict[str, bytes], folder: Path) -> None:
    for name, length in damages(whole, CUTS, random.Random(2)):
        run(whole, folder / "store", name, lambda data, length=length: data[:length])


def test_a_tail_of_zeros_or_of_more_bytes_is_found(whole: dict[str, bytes], folder: Path) -> None:
    for name, length in damages(whole, CUTS and CUTS // 4, random.Random(3)):
        if any(whole[name][length:]):
            run(whole, folder / "store", name, lambda data, length=length: data[:length].ljust(len(data), b"\0"))
    for name in evidence(whole):
        for more in (b"\0", b"\n", b"x" * 4096):
            run(whole, folder / "store", name, lambda data, more=more: data + more)


def test_what_was_damaged_is_whole_again_after_the_next_save_of_the_same_tensors(
    whole: dict[str, bytes], folder: Path
) -> None:
    """Nothing relies on a pack that was found damaged, so its tensors are stored anew."""
    chosen, root = random.Random(5), folder / "store"
    for name, at in damages({name: data for name, data in whole.items() if name.startswith("packs/")}, 60, chosen):
        lay_down({**whole, name: flipped(whole[name], at, chosen.randrange(8))}, root)
        store = open_vault(root, FsOps())
        for each in EXPECTED:
            is_right(store, each, "full")
        for one in checkpoints():
            store.write(replace(one, checkpoint_id=f"again-{one.checkpoint_id}"))
        for each in EXPECTED:
            assert is_right(store, each, "full")
            assert store.verify(each).ok
        store.collect()
        assert all(is_right(store, each, "full") for each in EXPECTED)
        store.close()


def test_an_index_of_any_content_changes_nothing(whole: dict[str, bytes], folder: Path) -> None:
    """It is only a cache: flipped, cut, or another database altogether."""
    chosen, root = random.Random(4), folder / "store"
    index = whole["index.sqlite"]
    cases = [flipped(index, chosen.randrange(len(index)), chosen.randrange(8)) for _ in range(60)]
    cases += [index[: chosen.randrange(len(index))] for _ in range(20)]
    cases += [b"", b"no database", b"SQLite format 3\0" * 300]
    for data in cases:
        lay_down({**whole, "index.sqlite": data}, root)
        store = open_vault(root, FsOps())
        assert all(is_right(store, name, "full") for name in EXPECTED)
        store.write(payload("third"))
        store.collect()
        assert contents(store.read("third")) == contents(payload("third"))
        assert all(is_right(store, name, "full") for name in EXPECTED)
        store.close()
