"""One process among several that use one vault: ``soak_worker.py ROOT ROLE NAME SAVES SEED``.

It says on standard output what was acknowledged, what will go, and whatever is not as it should be.
"""

from __future__ import annotations

import os
import random
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend
from model_checkpoint.errors import CheckpointNotFoundError
from model_checkpoint.storage.vault import collect as collect_module
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.testing.faulty_fs import FaultyFs

made = runpy.run_path(str(Path(__file__).with_name("tidy.py")))["made"]
POOL = [chr(ord("A") + number) for number in range(40)]
"""Few contents, so that saves find many of them stored, some of them in packs that nobody needs any more."""
KEPT = 3
"""How many of its own checkpoints a writer keeps."""


class Slow(FaultyFs):
    """Takes its time now and then, so that others get far between two calls."""

    def __init__(self, chosen: random.Random) -> None:
        super().__init__()
        self._chosen = chosen

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        if self._chosen.random() < 0.1:
            time.sleep(self._chosen.random() * 0.01)
        self.log.clear()
        self._locks.clear()
        return super().step(name, work)


def say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())  # in one piece, since all share the file


def write(store: StorageBackend, name: str, saves: int, chosen: random.Random) -> None:
    own: list[str] = []
    for number in range(saves):
        checkpoint_id, letters = f"{name}-{number}", "".join(chosen.sample(POOL, chosen.randrange(1, 7)))
        store.write(made(checkpoint_id, letters))
        say("written", checkpoint_id, letters)
        own.append(checkpoint_id)
        if len(own) > KEPT:
            gone = own.pop(chosen.randrange(len(own)))
            say("forgetting", gone)
            store.forget(gone)
    say("ended", name)


def collect(store: StorageBackend) -> None:
    while True:
        store.collect()
        say("collected")


def read(store: StorageBackend, chosen: random.Random) -> None:
    while True:
        ids = list(store.list_ids())
        for checkpoint_id in chosen.sample(ids, min(8, len(ids))):
            try:
                found = store.read(checkpoint_id, depth=chosen.choice(["fast", "full"]))
                letters = "".join(buffer.name for buffer in found.buffers)
                right = all(a.data == b.data for a, b in zip(found.buffers, made("x", letters).buffers, strict=True))
                report = store.verify(checkpoint_id)
            except CheckpointNotFoundError:
                continue
            if not (right and report.ok):
                say("bad", checkpoint_id, *report.bad_parts)
        say("read")


collect_module.MERGE_COUNT = 6  # so that there is always something to merge


def main(root: Path, role: str, name: str, saves: int, seed: int) -> None:
    chosen = random.Random(seed)
    store = open_vault(root, FsOps() if seed % 2 else Slow(chosen))
    try:
        if role == "writer":
            write(store, name, saves, chosen)
        elif role == "collector":
            collect(store)
        else:
            read(store, chosen)
    except BaseException as error:
        say("bad", role, name, repr(error).replace("\n", " "))
        raise
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
