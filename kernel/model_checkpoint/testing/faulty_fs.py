"""File-system calls that fail, or end the process, at a chosen moment. For tests of anything that goes through `FsOps`.

::

    fs = FaultyFs()
    store = open_my_backend(root, fs)
    fs.arm(after=7, fault=OSError(errno.ENOSPC, "no space left"))      # the eighth call from now fails, once
    fs.arm(after=7, fault=Killed(), lasting=True)                      # it and every later one: the process is gone
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.common.locks import HeldLock

ALLOCATING = frozenset({"make_dirs", "create", "write", "write_at", "sync_file", "sync_dir", "rename", "link", "lock"})
"""The calls that a full disk refuses."""


class Killed(BaseException):
    """Stands for the end of the process: nothing may clean up after it, and no handler for errors catches it."""


class FaultyFs(FsOps):
    """Counts the calls, writes to files among them, and lets one fail before or after it did its work."""

    def __init__(self) -> None:
        self.calls = 0
        self.log: list[str] = []
        """The names of the calls since `arm`, the failed one last."""
        self._fault: BaseException | None = None
        self._at = 0
        self._before, self._lasting, self.fired = True, False, False
        self._only: Collection[str] | None = None
        self._locks: list[HeldLock] = []

    def arm(
        self,
        *,
        after: int,
        fault: BaseException,
        before: bool = True,
        lasting: bool = False,
        only: Collection[str] | None = None,
    ) -> None:
        """Raise `fault` at the call that follows `after` others: `before` it does its work or once it has done it.

        With `lasting`, every later call fails too. With `only`, calls of other names neither count nor fail.
        """
        self.calls, self._at, self._fault, self._only = 0, after, fault, only
        self._before, self._lasting, self.fired = before, lasting, False
        self.log.clear()

    def disarm(self) -> None:
        """Let every call succeed again."""
        self._fault = None

    def bury(self) -> None:
        """Let go of every lock, as the operating system does when a process dies."""
        for lock in self._locks:
            lock.close()
        self._locks.clear()

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """Do one call."""
        self.log.append(name)
        fault = self._fault if self._counts(name) else None
        number, self.calls = self.calls, self.calls + self._counts(name)
        if fault is not None and ((self._lasting and number > self._at) or (self._before and number == self._at)):
            self.fired = True  # the later ones too: a call that consists of others may never come to its own end
            raise fault
        result = work()
        if fault is not None and number == self._at:
            self.fired = True
            if hasattr(result, "close"):
                result.close()  # nobody will hear of it
            raise fault
        if isinstance(result, HeldLock):
            self._locks.append(result)
        return result

    def _counts(self, name: str) -> bool:
        return self._only is None or name in self._only or (self.fired and isinstance(self._fault, Killed))

    def create(self, path: Path) -> IO[bytes]:
        """Open a new file whose every write is a call too."""
        opened: FaultyFile = self.step("create", lambda: FaultyFile(super(FaultyFs, self).create(path), self))
        return cast("IO[bytes]", opened)

    def write_at(self, file: IO[bytes], data: memoryview, offset: int) -> int:
        """Write, perhaps only a part of `data`, in whole pages as long as there is more than one."""
        half = data[: max(4096, data.nbytes // 2 // 4096 * 4096)]
        return int(self.step("write_at", lambda: super(FaultyFs, self).write_at(file, half, offset)))


class FaultyFile:
    """A file open for writing, as `FaultyFs` gives it out."""

    def __init__(self, file: IO[bytes], fs: FaultyFs) -> None:
        self._file, self._fs = file, fs

    def write(self, data: memoryview) -> int:
        """Write, perhaps only a part of `data`: callers must go on with the rest."""
        half = data[: max(1, data.nbytes // 2)] if data.nbytes > 4096 else data
        return int(self._fs.step("write", lambda: self._file.write(half)))

    def fileno(self) -> int:
        """Return the file's descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close it. The end of a process does this too, so it never fails."""
        self._file.close()

    def __enter__(self) -> FaultyFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _counted(name: str) -> Callable[..., Any]:
    inner: Callable[..., Any] = getattr(FsOps, name)

    def call(self: FaultyFs, *arguments: Any, **options: Any) -> Any:
        return self.step(name, lambda: inner(self, *arguments, **options))

    call.__name__ = name
    return call


_CALLS = [name for name, value in vars(FsOps).items() if callable(value) and not name.startswith("_")]
for _name in _CALLS:
    if _name not in vars(FaultyFs):
        setattr(FaultyFs, _name, _counted(_name))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below `folder`, by relative path; what is no file counts as empty."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            found[path.relative_to(folder).as_posix()] = path.read_bytes() if path.is_file() else b""
    return found
