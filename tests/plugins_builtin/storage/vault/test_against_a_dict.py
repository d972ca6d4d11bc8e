"""Whatever is done to a vault, by two stores on one folder, it holds what a dict would hold."""

from __future__ import annotations

import os
import runpy
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import CheckpointExistsError, CheckpointNotFoundError
from model_checkpoint.storage.vault import collect
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.storage.vault.store import VaultStore

IN_FULL = os.environ.get("MCE_FULL") == "1"
SEARCH = settings(
    max_examples=1000 if IN_FULL else 200,
    stateful_step_count=75,
    deadline=None,
    derandomize=os.environ.get("CI", "").lower() == "true",
)
Tidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))
made, letter, reads, untidy = (Tidy[name] for name in ("made", "letter", "reads", "untidy"))
IDS = st.sampled_from([f"c{number}" for number in range(6)])
LETTERS = st.lists(st.sampled_from("ABCDEFGH"), max_size=5, unique=True).map("".join)
WHICH = st.integers(0, 1)
DEPTHS = st.sampled_from(["stat", "header", "fast", "full"])
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


class VaultAgainstDict(RuleBasedStateMachine):
    """Two stores on one folder, as two processes have them."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=IN_MEMORY))
        self.stores = [self.opened() for _ in range(2)]
        self.known: dict[str, str] = {}
        self.forgotten: dict[str, str] = {}

    def opened(self) -> VaultStore:
        store = open_vault(self.folder / "store", FsOps())
        assert isinstance(store, VaultStore)
        return store

    @rule(which=WHICH, name=IDS, letters=LETTERS)
    def write(self, which: int, name: str, letters: str) -> None:
        if name in self.known:
            with pytest.raises(CheckpointExistsError):
                self.stores[which].write(made(name, letters))
        elif name not in self.forgotten:  # which of several comes back is another test's affair
            receipt = self.stores[which].write(made(name, letters))
            assert receipt.nbytes == made(name, letters).nbytes
            self.known[name] = letters

    @rule(which=WHICH, name=IDS)
    def forget(self, which: int, name: str) -> None:
        if name not in self.known:
            with pytest.raises(CheckpointNotFoundError):
                self.stores[which].forget(name)
            return
        letters = self.known.pop(name)
        manifest = self.folder / "store/manifests" / f"{name}.json"
        own = set(letters).difference(*self.known.values())
        freed = manifest.stat().st_size + sum(letter(each).nbytes for each in own)
        assert self.stores[which].forget(name) == freed
        self.forgotten[name] = letters

    @rule(which=WHICH, name=IDS)
    def restore(self, which: int, name: str) -> None:
        if name in self.forgotten:
            self.stores[which].restore(name)
            self.known[name] = self.forgotten.pop(name)
        else:
            with pytest.raises(CheckpointNotFoundError):
                self.stores[which].restore(name)

    @rule(which=WHICH)
    def collect(self, which: int) -> None:
        self.stores[which].collect()
        self.forgotten.clear()
        if (self.folder / "store").is_dir():
            stray = [problem for problem in untidy(self.folder / "store") if not problem.startswith("tmp/")]
            assert stray == []

    @rule(which=WHICH)
    def reopen(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = self.opened()

    @rule(which=WHICH)
    def lose_the_index(self, which: int) -> None:
        for store in self.stores:
            store.close()
        for path in (self.folder / "store").glob("index.sqlite*"):
            path.unlink()
        self.stores = [self.opened(), self.opened()]

    @rule(which=WHICH, name=IDS, depth=DEPTHS)
    def read(self, which: int, name: str, depth: str) -> None:
        store = self.stores[which]
        if name in self.known:
            assert reads(store, name, self.known[name])
            assert store.read(name, depth=depth).nbytes == made(name, self.known[name]).nbytes
            assert store.verify(name, depth=depth).ok
        else:
            for call in (store.read, store.verify):
                with pytest.raises(CheckpointNotFoundError):
                    call(name, depth=depth)

    @precondition(lambda self: hasattr(self, "known"))
    @invariant()
    def both_know_the_same(self) -> None:
        for store in self.stores:
            assert set(store.list_ids()) == self.known.keys()
            assert all(store.holds(name) for name in self.known)

    def teardown(self) -> None:
        if not hasattr(self, "known"):
            return
        for number in range(2):
            self.collect(number)
        for name, letters in self.known.items():
            assert reads(self.opened(), name, letters)
        for store in self.stores:
            store.close()
        if (self.folder / "store").is_dir():
            assert untidy(self.folder / "store") == []
        shutil.rmtree(self.folder)


def test_a_vault_holds_what_a_dict_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MERGE_COUNT", 3)
    run_state_machine_as_test(VaultAgainstDict, settings=SEARCH)
