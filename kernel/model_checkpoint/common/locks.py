"""Locks on files: one process holds one at a time, and the operating system lets go of it when that process dies."""

from __future__ import annotations

import errno
import os
import weakref
from pathlib import Path

from model_checkpoint.errors import StorageError

_LOCKED = {errno.EAGAIN, errno.EACCES}


class HeldLock:
    """An exclusive lock that this process holds; the operating system lets go of it when the process dies."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor, self.path = descriptor, path
        _held.add(self)

    def close(self) -> None:
        """Let go of it."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_held: weakref.WeakSet[HeldLock] = weakref.WeakSet()


def _drop_copies() -> None:
    """A forked child holds none of its parent's locks: while it kept a copy, its parent's death would free nothing."""
    for lock in list(_held):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_copies)


def take_flock(descriptor: int, path: Path) -> bool:
    """Try to take the lock of an open file, without waiting. Raises ``StorageError`` where there are no locks."""
    try:
        import fcntl
    except ImportError:
        raise StorageError(f"{path} cannot be locked: this operating system has no flock; use Linux or macOS") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED:
            return False
        raise StorageError(
            f"{path} cannot be locked: {error.strerror}. The file system offers no file locks; choose another"
            " checkpoint_dir (argument or MCE_CHECKPOINT_DIR)"
        ) from error
    return True
