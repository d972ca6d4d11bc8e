"""Our side of the store's benchmark: a vault and a kernel to measure, each in a folder of its own."""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import torch

from harness import seconds
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.kernel import Kernel
from model_checkpoint.storage.vault.plugin import open_vault
from store_states import State

HAS_WAIT = "wait" in inspect.signature(Kernel.save).parameters


class Vault:
    """One vault, and names for what is saved in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, open_vault(root, FsOps())
        self._numbers = itertools.count()

    def save(self, state: State) -> float:
        """Return how many seconds a durable save takes; it stays."""
        payload = state.payload(self._id())
        return seconds(lambda: self.store.write(payload))

    def save_changed(self, state: State, names: Iterable[str] | None = None) -> float:
        """Return the same where all tensors, or those of `names`, have a content that was never saved."""
        state.change(names)
        return self.save(state)

    def save_and_drop(self, state: State, names: Iterable[str] | None = None) -> float:
        """Return how many seconds a save of new content takes, of `names` alone if given; it is freed afterwards."""
        state.change(names)
        payload = state.payload(self._id(), names)
        taken = seconds(lambda: self.store.write(payload))
        self.store.forget(payload.checkpoint_id)
        self.store.collect()
        return taken

    def stored_nbytes(self) -> int:
        """Return how many bytes all files of the vault have."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def _id(self) -> str:
        return f"save-{next(self._numbers):06}"


class Training:
    """A kernel with a run, that saves one module."""

    def __init__(self, root: Path, module: torch.nn.Module) -> None:
        root.mkdir(parents=True)
        self.module = module
        self.kernel = Kernel.open(f"sqlite:///{root}/records.db", checkpoint_dir=root / "checkpoints", quiet=True)
        self.kernel.start_run("benchmark")

    def save(self) -> str:
        """Save the module; return the id once it is durable."""
        return self.kernel.save({"model": self.module})

    def stall(self) -> float:
        """Return how many seconds a save blocks that goes on in the background; afterwards it is gone again."""
        ids = list[str]()
        blocked = seconds(lambda: ids.append(self.kernel.save({"model": self.module}, wait=False)))
        self.kernel.wait(ids[0])
        self.kernel.delete(ids[0])
        self.kernel.collect()
        return blocked

    def load(self, which: str, verify: str) -> float:
        """Return how many seconds a load into the live parameters takes."""
        return seconds(lambda: self.kernel.load(which, into={"model": self.module}, verify=verify))


def free_memory_nbytes() -> int:
    """Return how much memory could still be taken."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
