"""A vault that an earlier version wrote, kept as it was: this one reads it, writes to it and cleans it up.

``tests/data/make_golden.py`` made it; what must come out is written down here once more, byte by byte.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import runpy
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend
from model_checkpoint.errors import StorageReadOnlyError
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.storage.vault.store import VaultStore
from model_checkpoint.testing.faulty_fs import FaultyFs
from model_checkpoint.testing.storage_samples import contents, payload

FROZEN = bytes.fromhex("0000003f0000a0bf00004040000000006f12833a00e07fc7")
PAGE = bytes(range(256)) * 16
ODD = "name with / and \n and \ud800"
EXPECTED: dict[str, dict[str, tuple[str, tuple[int, ...], bytes]]] = {
    "golden-1": {
        "model.frozen": ("float32", (2, 3), FROZEN),
        "model.head": ("bfloat16", (4,), bytes.fromhex("803f00c0004080bf")),
        "model.page": ("uint8", (4096,), PAGE),
        "optimizer.state[0].step": ("int64", (), bytes.fromhex("cb04fb711f010000")),
        "mask": ("bool", (3,), b"\1\0\1"),
        "wave": ("complex128", (1,), struct.pack("<2d", 1.5, -2.5)),
        "nothing": ("float32", (0, 4), b""),
        ODD: ("uint8", (2,), b"\x07\x08"),
    },
    "golden-2": {
        "model.frozen": ("float32", (2, 3), FROZEN),
        "model.head": ("bfloat16", (4,), bytes.fromhex("803f00c000400000")),
        "model.page": ("uint8", (4096,), PAGE),
    },
}
METADATA = {
    "golden-1": {"run": "golden", "step": 100, "loss": 0.125},
    "golden-2": {"run": "golden", "step": 200, "loss": 0.125},
}
untidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))["untidy"]


@pytest.fixture
def golden(repository: Path) -> Path:
    return repository / "tests/data/vault-1"


@pytest.fixture
def root(golden: Path, folder: Path) -> Path:
    return Path(shutil.copytree(golden, folder / "store"))


def opened(root: Path) -> VaultStore:
    store = open_vault(root, FsOps())
    assert isinstance(store, VaultStore)
    return store


def check(store: StorageBackend, checkpoint_id: str) -> None:
    """See that a checkpoint is what was written then."""
    for depth in ("fast", "full"):
        found = store.read(checkpoint_id, depth=depth)
        tensors = {each.name: (each.dtype, each.shape, bytes(each.data)) for each in found.buffers}
        assert list(tensors) == list(EXPECTED[checkpoint_id])
        assert tensors == EXPECTED[checkpoint_id]
    assert dict(found.metadata) == METADATA[checkpoint_id]
    objects = found.tree["objects"]
    assert isinstance(objects, dict)
    assert objects["betas"] == {"$": "tuple", "v": [0.9, 0.999]}
    nodes = objects["model"]["v"]  # type: ignore[index,call-overload]
    assert nodes["model.frozen"] == {"$": "tensor", "buffer": "model.frozen", "dtype": "float32", "shape": [2, 3]}
    for depth in ("stat", "header", "fast", "full"):
        assert store.verify(checkpoint_id, depth=depth).ok


def test_it_is_the_store_that_was_frozen(golden: Path) -> None:
    """Whoever changes it must not do so by accident: a new version of the format gets a folder of its own."""
    files = sorted(path for path in golden.rglob("*") if path.is_file())
    whole = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files))
    assert whole.hexdigest() == "205674f044fbd193fc60fe75f8cf09756a24cc38da8af207e67bf56dd1e78873"
    names = [path.relative_to(golden).parts[0] for path in files]
    assert names == ["FORMAT", "manifests", "manifests", "marks", "packs", "packs"]


def test_everything_in_it_reads_and_verifies(root: Path) -> None:
    store = opened(root)
    assert set(store.list_ids()) == EXPECTED.keys()
    for name in EXPECTED:
        check(store, name)
    (mark,) = store.marks()
    assert (mark.checkpoint_id, mark.kind, mark.name, mark.value) == ("golden-2", "tag", "stage", "prod")
    store.close()


def test_it_reads_where_nothing_may_be_written(root: Path) -> None:
    (root / "index.sqlite").mkdir()  # no database may be made either
    fs = FaultyFs()
    changing = {"make_dirs", "create", "link", "unlink", "rename", "lock", "sync_dir", "remove_dir"}
    fs.arm(after=0, fault=OSError(errno.EROFS, "Read-only file system"), lasting=True, only=changing)
    store = open_vault(root, fs)
    for name in EXPECTED:
        check(store, name)
    with pytest.raises(StorageReadOnlyError):
        store.write(payload("new"))
    store.close()


def test_it_is_written_to_and_what_it_holds_is_not_stored_again(root: Path) -> None:
    store = opened(root)
    packs = set(os.listdir(root / "packs"))
    found = store.read("golden-1")
    receipt = store.write(type(found)("copy", found.tree, found.buffers, found.metadata))
    assert set(os.listdir(root / "packs")) == packs
    assert [file.name for file in receipt.files] == ["manifests/copy.json"]
    store.write(payload("new"))
    assert contents(store.read("new")) == contents(payload("new"))
    assert [*contents(store.read("copy")).items()][1:] == [*contents(store.read("golden-1")).items()][1:]
    for name in EXPECTED:
        check(store, name)
    store.close()


def test_it_is_cleaned_up(root: Path) -> None:
    store = opened(root)
    store.collect()
    for name in EXPECTED:
        check(store, name)
    store.forget("golden-1")
    store.collect()
    check(store, "golden-2")
    assert len(list(store.marks())) == 1
    store.forget("golden-2")
    store.collect()
    assert os.listdir(root / "packs") == []
    store.close()
    assert untidy(root) == []


def test_a_manifest_is_read_by_anybody_who_has_json(golden: Path) -> None:
    for name, expected in EXPECTED.items():
        line, digest, nothing = (golden / "manifests" / f"{name}.json").read_bytes().split(b"\n")
        assert digest.decode() == hashlib.sha256(line).hexdigest()
        assert nothing == b""
        manifest = json.loads(line.decode("utf-8", "surrogatepass"))
        assert (manifest["format"], manifest["version"], manifest["id"]) == ("model-checkpoint", 1, name)
        assert manifest["metadata"] == METADATA[name]
        assert [each["name"] for each in manifest["buffers"]] == list(expected)
        for each in manifest["buffers"]:
            dtype, shape, data = expected[each["name"]]
            assert (each["dtype"], tuple(each["shape"]), each["nbytes"]) == (dtype, shape, len(data))
            assert each["place"]["sha256"] == hashlib.sha256(data).hexdigest()
            assert (golden / "packs" / manifest["packs"][each["place"]["pack"]]).is_file()


def raw_tensors(path: Path) -> dict[str, bytes]:
    """Return the bytes of a pack's tensors by the public format alone."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__")
    return {name: raw[8 + length :][slice(*entry["data_offsets"])] for name, entry in header.items()}


def test_safetensors_itself_opens_every_pack(golden: Path) -> None:
    every = {data for tensors in EXPECTED.values() for _, _, data in tensors.values()}
    seen = set[bytes]()
    for path in (golden / "packs").iterdir():
        raw = raw_tensors(path)
        with safe_open(path, framework="numpy") as pack:
            assert set(pack.keys()) == raw.keys()
            assert pack.metadata()["mce.pack"] == "1"
            for name in pack.keys():  # noqa: SIM118 (it is no dict)
                shown = pack.get_slice(name)
                if shown.get_dtype() != "BF16":  # numpy has no such type
                    assert np.ascontiguousarray(pack.get_tensor(name)).tobytes() == raw[name]
        seen |= set(raw.values())
    assert seen == every
