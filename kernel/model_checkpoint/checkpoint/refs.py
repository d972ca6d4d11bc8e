"""Pointers for people and other tools: ``runs/<run>/latest`` holds the id of the newest checkpoint.

::

    checkpoints/runs/digits-7/latest           digits-7-e0004-s000350-3f
    checkpoints/runs/digits-7/best-val_loss    digits-7-e0003-s000280-a1

They are moved atomically after the record is committed, and not synced to disk: a convenience, never the truth, which
the record store and the manifests hold.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from model_checkpoint.common.fsops import FsOps, FullWriter, typed_errors

_TEMP = ".tmp"


class FileRefs:
    """Refs as small files under a checkpoint directory."""

    def __init__(self, root: Path, fs: FsOps) -> None:
        self._root, self._fs = root, fs
        self._known: set[Path] = set()

    def move(self, run_name: str, name: str, checkpoint_id: str) -> None:
        """Let ``runs/<run_name>/<name>`` point at a checkpoint. Names are percent-encoded."""
        folder = self._root / run_name
        target = folder / quote(name, safe="-_.", errors="surrogatepass")
        with typed_errors("moving", target):
            if folder not in self._known:
                self._fs.make_dirs(folder)
                self._sweep(folder)
                self._known.add(folder)
            temp = folder / f".{target.name}.{os.getpid()}{_TEMP}"
            self._fs.unlink(temp)
            with self._fs.create(temp) as file:
                FullWriter(file).write(memoryview(f"{checkpoint_id}\n".encode()))
            self._fs.rename(temp, target)

    def _sweep(self, folder: Path) -> None:
        """Remove what a process left that was killed as it moved a ref: no other works on this run now."""
        for name in self._fs.list_dir(folder):
            if name.startswith(".") and name.endswith(_TEMP):
                self._fs.unlink(folder / name)
