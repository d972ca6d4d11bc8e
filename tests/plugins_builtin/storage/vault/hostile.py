"""What the tests of hostile files have in common: manifests made by hand, and the bounds of a refusal."""

from __future__ import annotations

import hashlib
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from model_checkpoint.contracts import StorageBackend
from model_checkpoint.errors import CheckpointNotFoundError, StorageError
from model_checkpoint.testing.storage_samples import contents, payload

LONGEST_S = 0.2
SMALL_NBYTES = 8 * 1024 * 1024
"""What may be used besides twice the file: a block to read into, an index, Python itself."""
Entries = dict[str, Any]
DATA = bytes(range(48))
FULL = hashlib.sha256(DATA).hexdigest()


def seal(line: bytes) -> bytes:
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"


def manifest(place: Any, nbytes: Any = 48, **changed: Any) -> bytes:
    """Return a manifest with a right checksum, of a checkpoint ``bad`` with one buffer."""
    packs = []
    if isinstance(place, dict) and isinstance(place.get("pack"), str):
        packs, place = [place["pack"]], {**place, "pack": 0}
    buffers = [{"name": "w", "dtype": "uint8", "shape": [48], "nbytes": nbytes, "place": place}]
    head = {"format": "model-checkpoint", "version": 1, "id": "bad", "packs": packs, "buffers": buffers}
    whole = {**head, "metadata": {}, "tree": {"objects": {}}, **changed}
    return seal(json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def place(name: Any, **changed: Any) -> Entries:
    return {"sha256": FULL, "xxh3": "0" * 32, "pack": name, **changed}


def within_bounds(nbytes: int, call: Callable[[], object]) -> None:
    """See that `call` refuses with an error of ours, fast, and in memory that the size of the file allows for."""
    tracemalloc.start()
    try:
        with pytest.raises((StorageError, CheckpointNotFoundError)):
            call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    started = time.perf_counter()  # a second time, for tracing memory takes longer than most of what it traces
    with pytest.raises((StorageError, CheckpointNotFoundError)):
        call()
    took_s = time.perf_counter() - started
    assert peak <= 2 * nbytes + SMALL_NBYTES, f"{peak} bytes for a file of {nbytes}"
    assert took_s < LONGEST_S, f"{took_s:.2f} s"


def still_good(store: StorageBackend) -> None:
    """See that the store works as if the hostile file were not there."""
    assert contents(store.read("good")) == contents(payload("good"))
    assert store.verify("good").ok
    store.write(payload("new", seed=8))
    assert contents(store.read("new")) == contents(payload("new", seed=8))
