"""The folders that ``save_state`` is given: each holds one small file, which names the checkpoint in the store."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from model_checkpoint.errors import CheckpointEngineError, CheckpointNotFoundError
from model_checkpoint.hooks import hookimpl
from model_checkpoint.kernel import Kernel

POINTER = "mce.json"
FOLDER = "accelerate_folder"
"""The entry of a checkpoint's metadata that says to which folder it belongs."""
_MAX_NBYTES = 4096
_log = logging.getLogger("model_checkpoint")


def checkpoint_in(folder: Path) -> str | None:
    """Return the id of the checkpoint that a folder stands for, or None."""
    try:
        with (folder / POINTER).open("rb") as file:
            found = json.loads(file.read(_MAX_NBYTES))
    except (OSError, ValueError):
        return None
    named = found.get("checkpoint") if isinstance(found, dict) else None
    return named if isinstance(named, str) else None


def numbered(base: Path) -> list[Path]:
    """Return the folders ``checkpoint_<n>`` by their numbers."""
    found = [(int(match[1]), path) for path in base.iterdir() if (match := re.search(r"(\d+)$", path.name))]
    return [path for _, path in sorted(found)]


class Folders:
    """Hears of every durable checkpoint, writes its file into its folder, and deletes what that replaces."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._limits: dict[str, int] = {}
        kernel.hooks.register(self, f"accelerate-{id(self):x}")

    def limit(self, base: Path, count: int) -> None:
        """Keep at most so many folders in `base`, from the next durable checkpoint on."""
        self._limits[str(base)] = count

    @hookimpl
    def after_checkpoint_save(self, context: Any) -> None:
        """Write the pointer; then delete what it replaces, and what the limit leaves out."""
        record = self.kernel.checkpoint(context.checkpoint_id)
        text = record.metadata.get(FOLDER)
        if not isinstance(text, str):
            return  # saved by somebody else
        folder = Path(text)
        before = checkpoint_in(folder)
        _publish(folder, record.id)
        if before is not None and before != record.id:
            self._delete(before)
        limit = self._limits.get(str(folder.parent))
        for old in numbered(folder.parent)[:-limit] if limit else ():
            if (named := checkpoint_in(old)) is None or self._delete(named):
                shutil.rmtree(old, ignore_errors=True)

    def _delete(self, checkpoint_id: str) -> bool:
        try:
            self.kernel.delete(checkpoint_id, reason="replaced, or beyond total_limit")
        except CheckpointNotFoundError:
            return True
        except CheckpointEngineError as error:  # pinned, named, vetoed
            _log.warning("checkpoint %s was not deleted: %s", checkpoint_id, error)
            return False
        self.kernel.collect()
        return True


def _publish(folder: Path, checkpoint_id: str) -> None:
    """Write the pointer, whole or not at all, durably."""
    folder.mkdir(parents=True, exist_ok=True)
    temp = folder / f".{POINTER}.{os.urandom(4).hex()}.tmp"
    try:
        with temp.open("x", encoding="utf-8") as file:
            json.dump({"checkpoint": checkpoint_id}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, folder / POINTER)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
