"""Small checkpoints whose tensors are letters, and whether a vault is as a collection must leave it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from model_checkpoint.contracts import Buffer, CheckpointPayload, StorageBackend
from model_checkpoint.storage.vault.collect import DEAD_SHARE
from model_checkpoint.testing.faulty_fs import snapshot
from model_checkpoint.testing.storage_samples import contents, tensor_node

LASTING = {"FORMAT", "index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "trash/lock"}


def letter(content: str) -> Buffer:
    """Return the tensor that is called after its content: of whole pages, of an odd length, or of something between."""
    number = ord(content)
    nbytes = (4096, 1023, 2000)[number % 3]
    data = hashlib.shake_128(content.encode()).digest(nbytes)
    return Buffer(content, "uint8", (nbytes,), memoryview(bytearray(data)))


def made(checkpoint_id: str, letters: str, step: int = 0) -> CheckpointPayload:
    """Return a checkpoint of those letters."""
    buffers = tuple(letter(each) for each in letters)
    tree = {"objects": {each.name: tensor_node(each) for each in buffers}}
    return CheckpointPayload(checkpoint_id, tree, buffers, {"step": step})


def reads(store: StorageBackend, checkpoint_id: str, letters: str, step: int = 0) -> bool:
    """Read a checkpoint in full and say whether it is the one of those letters."""
    return contents(store.read(checkpoint_id)) == contents(made(checkpoint_id, letters, step))


def manifest_digests(root: Path) -> dict[str, set[str]]:
    """Return what each checkpoint needs, as anybody could read it."""
    return {
        path.stem: {each["place"]["sha256"] for each in _json(path.read_bytes().partition(b"\n")[0])["buffers"]}
        for path in (root / "manifests").glob("*.json")
    }


def pack_digests(folder: Path) -> dict[str, dict[str, int]]:
    """Return what each pack in a folder holds, each with its bytes, as anybody could read it."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        (length,) = struct.unpack_from("<Q", raw)
        header = _json(raw[8 : 8 + length])
        digests = header.pop("__metadata__")["mce.sha256"].split()
        sizes = [end - begin for begin, end in (entry["data_offsets"] for entry in header.values())]
        found[path.name] = dict(zip(digests, sizes, strict=True))
    return found


def untidy(root: Path) -> list[str]:
    """Return what a collection that nobody disturbed should not have left: nothing stray, every content once."""
    needed = set[str]().union(*manifest_digests(root).values())
    homes = Counter(digest for digests in pack_digests(root / "packs").values() for digest in digests)
    problems = [f"{digest[:12]} is in no pack" for digest in sorted(needed - homes.keys())]
    problems += [f"{digest[:12]} is in {count} packs" for digest, count in sorted(homes.items()) if count > 1]
    for name, sizes in pack_digests(root / "packs").items():
        dead = sum(size for digest, size in sizes.items() if digest not in needed)
        if dead >= DEAD_SHARE * sum(sizes.values()) or not needed & sizes.keys():
            problems.append(f"{dead} bytes of {name} are needed by nobody")
    for name in sorted(snapshot(root).keys() - LASTING):
        folder, _, rest = name.partition("/")
        if not (folder in ("packs", "manifests") and "/" not in rest):
            problems.append(f"{name} is stray")
    return problems


def _json(raw: bytes) -> dict[str, Any]:
    found = json.loads(raw)
    assert isinstance(found, dict)
    return found
