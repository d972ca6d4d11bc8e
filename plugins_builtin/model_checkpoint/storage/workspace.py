"""``tmp/``: where files are written before they get their names, and who may clean up there.

::

    tmp/<writer>/lock               held by that writer for life: only who gets this lock may sweep the folder
    tmp/<writer>/<n>.<file's name>  being written, or published and not yet committed (then a second name of the file)
    tmp/claims/<id>                 held while that id is published or forgotten

Process ids and clocks decide nothing here: the first lie across containers, the second across machines. The operating
system lets go of a lock when its process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from model_checkpoint.common.fsops import FsOps, locked
from model_checkpoint.common.ids import random_id
from model_checkpoint.common.locks import HeldLock
from model_checkpoint.errors import StorageError

LOCK = "lock"
"""Held by a writer for life, in its own folder."""
_CLAIMS = "claims"
_ATTEMPTS = 100


@dataclass(slots=True)
class Writer:
    """This process's own folder. A forked child makes one of its own."""

    folder: Path
    lock: HeldLock
    identity: tuple[int, int] | None
    pid: int
    numbers: Iterator[int]

    def path(self, name: str) -> Path:
        """Return a new place for a file that will be called `name`."""
        return self.folder / f"{next(self.numbers)}.{name}"


class Workspace:
    """The folder ``tmp`` of one store, as one process sees it."""

    def __init__(self, root: Path, fs: FsOps) -> None:
        self.root, self._fs = root, fs
        self._writers: dict[int, Writer] = {}  # by process: a child must not write where its parent may clean up
        self._mutexes: dict[int, threading.Lock] = {}

    def writer(self) -> tuple[Writer, bool]:
        """Return this process's folder and whether it is new. Somebody may have removed an earlier one."""
        pid = os.getpid()
        with self._mutexes.setdefault(pid, threading.Lock()):  # a fork may copy its parent's while it is held
            known = self._writers.get(pid)
            if known is not None and self._fs.identity(known.lock.path) == known.identity:
                return known, False
            for process in [*self._writers]:  # an outdated one, or the parent's: closing our copy leaves it the lock
                self._writers.pop(process).lock.close()
            writer = self._writers[pid] = self._new_writer()
            return writer, True

    def claim(self, checkpoint_id: str) -> AbstractContextManager[None]:
        """Be the only one who publishes or forgets this id. Raises ``StorageError`` where another does not finish."""
        return locked(self._fs, self.root / _CLAIMS / checkpoint_id)

    def holds(self, identity: tuple[int, int]) -> bool:
        """Say whether a writer, alive or dead, has that file here under a second name."""
        return any(self._fs.identity(temp) == identity for temp in self._files())

    def dead_files(self) -> Iterator[Path]:
        """Yield what writers left that live no more, holding the folder's lock; then remove folders and old claims."""
        own = {writer.folder for pid, writer in self._writers.items() if pid == os.getpid()}
        for folder in self._folders():
            if folder not in own:
                yield from self._dead_files_of(folder)
        for name in self._fs.list_dir(self.root / _CLAIMS):
            claim = self.root / _CLAIMS / name
            held = self._fs.lock(claim)
            if held is not None:
                self._fs.unlink(claim)
                held.close()

    def close(self) -> None:
        """Let go of this process's folder, removing it if it is empty."""
        writer = self._writers.pop(os.getpid(), None)
        if writer is not None:
            with contextlib.suppress(OSError):  # the next writer sweeps what cannot be removed now
                self._release(writer)

    def _new_writer(self) -> Writer:
        self._fs.make_dirs(self.root / _CLAIMS)
        for _ in range(_ATTEMPTS):
            folder = self.root / random_id()
            self._fs.make_dirs(folder)
            try:
                lock = self._fs.lock(folder / LOCK)
            except FileNotFoundError:  # swept, since it was empty and nobody's for a moment
                continue
            if lock is not None:
                try:
                    return Writer(folder, lock, self._fs.identity(lock.path), os.getpid(), itertools.count())
                except BaseException:
                    lock.close()
                    raise
        raise StorageError(
            f"{self.root} is being cleaned up faster than anything can be created in it: try again later"
        )

    def _release(self, writer: Writer) -> None:
        try:
            if self._fs.list_dir(writer.folder) == [LOCK]:
                self._fs.unlink(writer.lock.path)
                self._fs.remove_dir(writer.folder)
        finally:
            writer.lock.close()

    def _folders(self) -> Iterator[Path]:
        return (self.root / name for name in self._fs.list_dir(self.root) if name != _CLAIMS)

    def _files(self) -> Iterator[Path]:
        for folder in self._folders():
            yield from (folder / name for name in self._fs.list_dir(folder) if name != LOCK)

    def _dead_files_of(self, folder: Path) -> Iterator[Path]:
        try:
            held = self._fs.lock(folder / LOCK)
        except (FileNotFoundError, NotADirectoryError):  # swept by somebody else, or no folder of ours
            return
        if held is None:
            return
        try:
            yield from (folder / name for name in self._fs.list_dir(folder) if name != LOCK)
            if self._fs.list_dir(folder) == [LOCK]:
                self._fs.unlink(held.path)  # last, so that a folder with files in it is never without its lock
                with contextlib.suppress(OSError):  # another sweeper looks for a lock here and made one: it goes on
                    self._fs.remove_dir(folder)
        finally:
            held.close()
