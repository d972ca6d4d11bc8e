"""Made ``vault-1/``, which is frozen: run it only for a new version of the format, into a new folder.

::

    python tests/data/make_golden.py tests/data/vault-2
"""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import JSON, Buffer, CheckpointPayload, Mark
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.storage.vault.store import VaultStore


def tensor(name: str, dtype: str, shape: tuple[int, ...], data: bytes) -> Buffer:
    return Buffer(name, dtype, shape, memoryview(bytearray(data)))


def node(of: Buffer) -> JSON:
    return {"$": "tensor", "buffer": of.name, "dtype": of.dtype, "shape": list(of.shape)}


FROZEN = tensor("model.frozen", "float32", (2, 3), struct.pack("<6f", 0.5, -1.25, 3.0, 0.0, 1e-3, -65504.0))
HEADS = {
    "golden-1": tensor("model.head", "bfloat16", (4,), bytes.fromhex("803f00c0004080bf")),
    "golden-2": tensor("model.head", "bfloat16", (4,), bytes.fromhex("803f00c000400000")),
}
PAGE = tensor("model.page", "uint8", (4096,), bytes(range(256)) * 16)
OTHERS = (
    tensor("optimizer.state[0].step", "int64", (), struct.pack("<q", 1234567890123)),
    tensor("mask", "bool", (3,), bytes([1, 0, 1])),
    tensor("wave", "complex128", (1,), struct.pack("<2d", 1.5, -2.5)),
    tensor("nothing", "float32", (0, 4), b""),
    tensor("name with / and \n and \ud800", "uint8", (2,), b"\x07\x08"),
)


def golden(checkpoint_id: str, step: int) -> CheckpointPayload:
    buffers = (FROZEN, HEADS[checkpoint_id], PAGE, *(OTHERS if checkpoint_id == "golden-1" else ()))
    model: JSON = {"$": "odict", "v": {each.name: node(each) for each in buffers}}
    tree: dict[str, JSON] = {"objects": {"model": model, "betas": {"$": "tuple", "v": [0.9, 0.999]}}, "rng": {}}
    return CheckpointPayload(checkpoint_id, tree, buffers, {"run": "golden", "step": step, "loss": 0.125})


def main(target: Path) -> None:
    store = open_vault(target, FsOps())
    assert isinstance(store, VaultStore)
    for number, name in enumerate(HEADS, 1):
        print(name, store.write(golden(name, 100 * number)).digest)
    store.add_mark(Mark("golden-2", "tag", "stage", "prod", 1700000000.5))
    store.close()
    for name in ("intents", "tmp", "trash"):
        shutil.rmtree(target / name)
    (target / "index.sqlite").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
