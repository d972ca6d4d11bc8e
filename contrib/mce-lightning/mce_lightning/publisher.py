"""Moves pointers and deletes checkpoints, but only after what they wait for is durable. Part of `MceCheckpointIO`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mce_lightning import pointer
from model_checkpoint.errors import CheckpointEngineError, CheckpointNotFoundError, ProtectedCheckpointError
from model_checkpoint.hooks import hookimpl
from model_checkpoint.kernel import Kernel

PATH = "lightning_path"
"""The entry of a checkpoint's metadata that says at which path Lightning knows it."""
COLLECT_AFTER = 2
"""The space of deleted checkpoints is given back when so many of the size of the last one were deleted."""
_log = logging.getLogger("model_checkpoint")


@dataclass(frozen=True, slots=True)
class _Removal:
    path: Path
    after: frozenset[str]
    """Ids of saves that must be durable before."""


class Publisher:
    """Hears of every durable checkpoint, on the thread that finished it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._lock = threading.RLock()
        self._saved: dict[str, Path] = {}
        """Saves that nobody has seen durable yet."""
        self._durable: set[str] = set()
        self._removals: list[_Removal] = []
        self._deleted_nbytes = 0

    @property
    def pending_paths(self) -> set[Path]:
        """Paths whose pointers are still to be moved."""
        with self._lock:
            return {path for id, path in self._saved.items() if id not in self._durable}

    def save(self, path: Path, objects: Mapping[str, object], *, wait: bool, **told: Any) -> None:
        """Save, and let the path lead there as soon as it is durable."""
        saved = self.kernel.save(objects, metadata={PATH: str(path)}, wait=wait, **told)
        with self._lock:
            self._saved[saved] = path
            self._forget_seen()

    def remove(self, path: Path) -> None:
        """Delete what a path leads to, now or as soon as the saves under way are durable."""
        with self._lock:
            self._forget_seen()
            self._removals.append(_Removal(path, frozenset(self._saved)))
        self._remove_due()

    def settle(self, path: Path | None = None) -> None:
        """Wait for every save, or for those at one path. Raises what the first of them failed with."""
        with self._lock:
            waited = [id for id, at in self._saved.items() if path in (None, at) and id not in self._durable]
        for checkpoint_id in waited:
            try:
                self.kernel.wait(checkpoint_id)
            except (
                CheckpointNotFoundError
            ):  # it was durable and is deleted by now, or somebody has heard of its failure
                self._gave_up(checkpoint_id)
            except BaseException:
                self._gave_up(checkpoint_id)
                raise
        with self._lock:
            self._forget_seen()

    @hookimpl
    def after_checkpoint_save(self, context: Any) -> None:
        """Move the pointer, delete what it led to, and carry out the removals that waited for this checkpoint."""
        record = self.kernel.checkpoint(context.checkpoint_id)
        text = record.metadata.get(PATH)
        if not isinstance(text, str):
            return  # not Lightning's
        path = Path(text)
        before = pointer.read(path) if not path.is_symlink() else None
        if path.is_symlink():
            path.unlink()
        pointer.write(path, pointer.Pointer(record.id, record.run_name))
        if before is not None and before.checkpoint_id != record.id:
            self._delete(before.checkpoint_id, f"another one was saved at {path}")
        with self._lock:
            self._durable.add(record.id)
        self._remove_due()
        self._collect_due(record.nbytes)

    def _gave_up(self, checkpoint_id: str) -> None:
        """What waited for a save that never became durable is not removed: it may be the last whole one."""
        with self._lock:
            if checkpoint_id not in self._durable and self._saved.pop(checkpoint_id, None) is not None:
                self._removals = [removal for removal in self._removals if checkpoint_id not in removal.after]

    def _forget_seen(self) -> None:
        for checkpoint_id in [id for id in self._saved if id in self._durable]:
            del self._saved[checkpoint_id]
            self._durable.discard(checkpoint_id)

    def _remove_due(self) -> None:
        with self._lock:
            waiting = {id for id in self._saved if id not in self._durable}
            due = [removal for removal in self._removals if not removal.after & waiting]
            self._removals = [removal for removal in self._removals if removal.after & waiting]
        for removal in due:
            found = pointer.read(removal.path) if not removal.path.is_symlink() else None
            if found is None or self._delete(found.checkpoint_id, "Lightning keeps only so many"):
                pointer.remove(removal.path)

    def _delete(self, checkpoint_id: str, reason: str) -> bool:
        try:
            record = self.kernel.checkpoint(checkpoint_id)
            self.kernel.delete(checkpoint_id, reason=reason)
        except CheckpointNotFoundError:
            return True
        except ProtectedCheckpointError as error:
            _log.info("%s", error)
            return False
        except CheckpointEngineError as error:
            _log.warning("checkpoint %s was not deleted: %s", checkpoint_id, error)
            return False
        with self._lock:
            self._deleted_nbytes += record.nbytes
        return True

    def _collect_due(self, nbytes: int) -> None:
        with self._lock:
            if self._deleted_nbytes < COLLECT_AFTER * nbytes or not self._deleted_nbytes:
                return
            self._deleted_nbytes = 0
        self.kernel.collect()
