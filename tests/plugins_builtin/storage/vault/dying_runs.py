"""Lets processes die at every call of one change to a vault, and looks at what is left. Prints what it found as JSON.

A program of its own, for it forks: nothing big is imported here, and no thread runs. Called as
``dying_runs.py FOLDER CHANGE SHARE SEED``; of all moments to die, `SHARE` (0 to 1) are tried.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import runpy
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import CheckpointNotFoundError
from model_checkpoint.storage.vault import collect
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.storage.vault.store import VaultStore
from model_checkpoint.testing.faulty_fs import FaultyFs

Tidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))
made, reads, untidy = Tidy["made"], Tidy["reads"], Tidy["untidy"]
BEFORE = {"first": "ABC", "old": "CDEF", "keeps": "D", "changing": "AGH", "small": "IJ", "smaller": "K"}
"""What is in the store before the change, and of which tensors."""
CHANGING = "AGH"
CHANGES: dict[str, Callable[[VaultStore], object]] = {
    "save": lambda store: store.write(made("new", "ADXY")),
    "save what is known": lambda store: store.write(made("new", "ADH")),
    "forget": lambda store: store.forget("changing"),
    "restore": lambda store: store.restore("changing"),
    "collect": lambda store: store.collect(),
}
FORGOTTEN = {"restore": ["changing"], "collect": ["changing", "old"]}
"""What was forgotten before the change: a collection then finds packs to remove, to write anew, and to merge."""
collect.MERGE_COUNT = 3
UNCERTAIN = {"save": ("new", "ADXY"), "save what is known": ("new", "ADH")}


class DyingFs(FaultyFs):
    """Ends the process at one call, before it or after it, without any cleaning up."""

    def __init__(self, at: int, before: bool) -> None:
        super().__init__()
        self._at_call, self._dies_before, self._kill = at, before, at % 2

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if number == self._at_call and self._dies_before:
            self.die()
        result = work()
        if number == self._at_call:
            self.die()
        return result

    def die(self) -> None:
        if self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(9)


def open_store(root: Path, fs: FsOps) -> VaultStore:
    store = open_vault(root, fs)
    assert isinstance(store, VaultStore)
    return store


def prepare(root: Path, change: str) -> None:
    """Make the store that is changed."""
    store = open_store(root, FsOps())
    for name, letters in BEFORE.items():
        store.write(made(name, letters))
    for name in FORGOTTEN.get(change, ()):
        store.forget(name)
    store.close()


def check(root: Path, change: str, completed: bool) -> None:
    """See that what was acknowledged is whole, that nothing stray outlives a collection, and that saving goes on."""
    name, letters = UNCERTAIN.get(change, ("changing", CHANGING))
    certain = {other: of for other, of in BEFORE.items() if other not in (name, *FORGOTTEN.get(change, ()))}
    store = open_store(root, FsOps())
    for other, of in certain.items():
        assert reads(store, other, of), f"{other} was lost"
    present = set(store.list_ids())
    assert certain.keys() <= present <= {*certain, name}
    if completed:
        assert (name in present) is (change not in ("forget", "collect"))
    if name in present:
        assert reads(store, name, letters)
        assert store.verify(name).ok
    else:
        for call in (store.read, store.verify, store.forget):
            try:
                call(name)
            except CheckpointNotFoundError:
                continue
            raise AssertionError("half of a checkpoint is there")
    store.collect()
    store.close()
    assert not (left := untidy(root)), left
    assert set(store.list_ids()) == present
    if name not in present:
        store.write(made(name, letters))
    store.write(made("after", "AXGZ"))
    for other, of in {**certain, name: letters, "after": "AXGZ"}.items():
        assert reads(store, other, of)
    store.close()
    assert not (left := untidy(root)), left


def die(root: Path, change: str, at: int, before: bool) -> int:
    """Let a child make the change and die at one call; return how it ended: 0 if there was no such call."""
    child = os.fork()
    if not child:
        try:
            CHANGES[change](open_store(root, DyingFs(at, before)))
        finally:
            os._exit(1 if sys.exc_info()[0] else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def calls(whole: Path, root: Path, change: str) -> int:
    """Return how many calls the change makes."""
    shutil.copytree(whole, root)
    fs = FaultyFs()
    CHANGES[change](open_store(root, fs))
    fs.bury()
    shutil.rmtree(root)
    return len(fs.log)


def main(folder: Path, change: str, share: float, seed: int) -> None:
    chosen, died, failures = random.Random(seed), 0, []
    whole, root = folder / "whole", folder / "store"
    prepare(whole, change)
    moments = list(itertools.product(range(calls(whole, root, change) + 1), (True, False)))
    moments = chosen.sample(moments, round(share * len(moments)))
    for at, before in moments:
        shutil.copytree(whole, root)
        ended = die(root, change, at, before)
        died += ended in (9, -9)
        try:
            assert ended in (0, 9, -9), f"the change failed: {ended}"
            check(root, change, ended == 0)
        except Exception:
            failures.append(f"{change}, dying {'before' if before else 'after'} call {at}: {traceback.format_exc()}")
        shutil.rmtree(root)
    print(json.dumps({"runs": len(moments), "died": died, "failures": failures[:20]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
