"""What a collection removes, moves together, keeps, and never touches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import Buffer, CheckpointPayload
from model_checkpoint.errors import CheckpointNotFoundError, IntegrityError
from model_checkpoint.storage.vault import collect
from model_checkpoint.storage.vault.pack_read import open_pack
from model_checkpoint.storage.vault.store import VaultStore
from model_checkpoint.testing.storage_samples import contents


def payload(checkpoint_id: str, **tensors: bytes) -> CheckpointPayload:
    buffers = [Buffer(name, "uint8", (len(data),), memoryview(bytearray(data))) for name, data in tensors.items()]
    return CheckpointPayload(checkpoint_id, {"objects": {}, "rng": {}}, tuple(buffers), {"step": 1})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VaultStore]:
    opened = VaultStore(tmp_path / "vault", FsOps())
    yield opened
    opened.close()


def packs(store: VaultStore) -> list[Path]:
    return sorted((store._layout.root / "packs").iterdir())


def homes(store: VaultStore) -> Counter[str]:
    """Return how many live packs hold each content."""
    found: Counter[str] = Counter()
    for path in packs(store):
        pack = open_pack(FsOps(), path)
        found.update(pack.tensors.keys())
        pack.close()
    return found


def test_each_content_is_stored_once_and_goes_with_its_last_checkpoint(store: VaultStore) -> None:
    first, second = payload("one", a=b"A" * 5000, b=b"B" * 5000), payload("two", x=b"A" * 5000, y=b"C" * 5000)
    store.write(first)
    written = store.write(second)
    assert written.nbytes_written < 5000 + 4096 + 3000
    assert set(homes(store).values()) == {1}
    assert len(homes(store)) == 3
    assert 5000 <= store.forget("one") < 8000
    store.collect()
    assert len(homes(store)) == 2
    assert contents(store.read("two")) == contents(second)
    store.forget("two")
    report = store.collect()
    assert packs(store) == []
    assert report.nbytes_freed >= 10_000
    assert not any(path.is_file() for path in (store._layout.root / "trash").rglob("*") if path.name != "lock")


def test_the_same_content_twice_in_one_state_is_stored_once(store: VaultStore) -> None:
    one = payload("one", a=b"same" * 1000, b=b"same" * 1000, c=b"", d=b"")
    store.write(one)
    assert sorted(homes(store).values()) == [1, 1]
    assert contents(store.read("one")) == contents(one)


def test_a_pack_of_which_little_is_needed_is_written_anew(store: VaultStore) -> None:
    store.write(payload("one", a=b"A" * 70_000, b=b"B" * 100_000))
    store.write(payload("two", b=b"B" * 100_000))
    old = packs(store)
    store.forget("one")
    store.collect()
    assert set(packs(store)).isdisjoint(old)
    assert sum(path.stat().st_size for path in packs(store)) < 110_000
    assert contents(store.read("two")) == contents(payload("two", b=b"B" * 100_000))


def test_a_pack_of_which_most_is_needed_stays(store: VaultStore) -> None:
    store.write(payload("one", a=b"A" * 20_000, b=b"B" * 100_000))
    store.write(payload("two", b=b"B" * 100_000))
    old = packs(store)
    store.forget("one")
    store.collect()
    assert packs(store) == old


def duplicated(store: VaultStore) -> None:
    """Write the same content from a store that does not know of it, as two processes at once would."""
    other = VaultStore(store._layout.root, FsOps())
    other._catalog.index.may_hold = lambda xxh3: False  # type: ignore[method-assign]
    other.write(payload("two", a=b"A" * 50_000, b=b"B" * 50_000))
    other.close()


def test_content_in_two_packs_is_in_one_afterwards(store: VaultStore) -> None:
    store.write(payload("one", a=b"A" * 50_000))
    duplicated(store)
    assert max(homes(store).values()) == 2
    store.collect()
    assert set(homes(store).values()) == {1}
    assert store.verify("one").ok
    assert store.verify("two").ok


def test_a_second_copy_is_kept_where_the_first_is_damaged(store: VaultStore) -> None:
    store.write(payload("one", a=b"A" * 50_000))
    (first,) = packs(store)
    duplicated(store)
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.chmod(0o644)
    first.write_bytes(data)
    store.collect()
    assert contents(store.read("one")) == contents(payload("one", a=b"A" * 50_000))
    assert store.verify("two").ok


def test_small_packs_are_merged_once_there_are_many(store: VaultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MERGE_COUNT", 10)
    for number in range(12):
        store.write(payload(str(number), shared=b"S" * 9000, own=bytes([number]) * 100))
    assert len(packs(store)) == 12
    store.collect()
    assert len(packs(store)) == 1
    assert set(homes(store).values()) == {1}
    for number in range(12):
        assert contents(store.read(str(number))) == contents(
            payload(str(number), shared=b"S" * 9000, own=bytes([number]) * 100)
        )
    again = packs(store)
    store.collect()
    assert packs(store) == again


def test_what_was_forgotten_comes_back_until_the_next_collection(store: VaultStore) -> None:
    one = payload("one", a=b"A" * 5000)
    store.write(one)
    store.forget("one")
    store.restore("one")
    assert contents(store.read("one")) == contents(one)
    store.forget("one")
    store.collect()
    with pytest.raises(CheckpointNotFoundError):
        store.restore("one")


def test_nothing_is_removed_while_a_manifest_cannot_be_read(store: VaultStore) -> None:
    for name in ("one", "two"):
        store.write(payload(name, a=name.encode() * 5000))
    store.forget("two")
    manifest = store._layout.manifest("one")
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-3])
    before = packs(store)
    with pytest.raises(IntegrityError, match="nothing was cleaned up"):
        store.collect()
    assert packs(store) == before
    manifest.write_bytes(whole)
    store.collect()
    assert len(packs(store)) == 1


def test_what_is_damaged_or_strange_is_left_alone(store: VaultStore) -> None:
    store.write(payload("one", a=b"A" * 5000))
    folder = store._layout.root / "packs"
    (folder / "notes.txt").write_text("mine")
    strange = folder / (packs(store)[0].name.replace("-", "-0", 1)[:41] + ".safetensors")
    strange.write_bytes(b"not a pack")
    store.collect()
    assert (folder / "notes.txt").exists()
    assert strange.exists()


def test_a_damaged_tensor_is_made_good_by_the_next_save_of_it(store: VaultStore) -> None:
    one = payload("one", a=b"A" * 5000, b=b"B" * 5000)
    store.write(one)
    (pack,) = packs(store)
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises(IntegrityError, match=pack.name):
        store.read("one")
    assert [path.name for path in (store._layout.root / "quarantine").iterdir()] == [pack.name]
    store.write(payload("two", a=b"A" * 5000, b=b"B" * 5000))
    assert contents(store.read("one")) == contents(one)
    assert store.verify("one").ok


def test_a_manifest_names_what_it_needs_in_plain_json(store: VaultStore) -> None:
    store.write(payload("one", a=b"A" * 5000))
    content = json.loads(store._layout.manifest("one").read_bytes().partition(b"\n")[0])
    (entry,) = content["buffers"]
    assert entry["name"] == "a"
    assert set(entry["place"]) == {"sha256", "xxh3", "pack"}
