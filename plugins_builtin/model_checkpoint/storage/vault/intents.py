"""``intents/``: who is at work. A collection waits for those who may have seen a pack before it moved to trash.

The file of an intent is empty and never synced: it means something only while its writer lives, and a writer lives as
long as somebody holds the lock of its folder in ``tmp/``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.storage.workspace import LOCK, Writer


class Intents:
    """The intents of one store."""

    def __init__(self, root: Path, tmp: Path, fs: FsOps) -> None:
        self._root, self._tmp, self._fs = root, tmp, fs
        self._left: list[Path] = []

    @contextlib.contextmanager
    def announced(self, writer: Writer) -> Iterator[str]:
        """Be at work while the block runs; gives the name of the intent. To be entered before anything is looked up."""
        self._fs.make_dirs(self._root)
        path = self._root / f"{writer.folder.name}.{next(writer.numbers)}"
        try:
            self._fs.create(path).close()
            yield path.name
        finally:
            self._left.append(path)
            self._remove_left()

    def _remove_left(self) -> None:
        """Remove the intents of what has ended; one that cannot be removed now holds up collections until the next."""
        for path in [*self._left]:
            with contextlib.suppress(OSError):
                self._fs.unlink(path)
                with contextlib.suppress(ValueError):  # another thread was faster
                    self._left.remove(path)

    def present(self) -> set[str]:
        """Return the names of all intents, those of dead writers too; not our own that could not be removed."""
        return set(self._fs.list_dir(self._root)) - {path.name for path in [*self._left]}

    def living(self, names: Iterable[str]) -> set[str]:
        """Return those of `names` that are still there and whose writer lives; intents of dead writers are removed."""
        alive: dict[str, bool] = {}
        found = set()
        for name in self.present().intersection(names):
            writer = name.partition(".")[0]
            if writer not in alive:
                alive[writer] = self._is_alive(writer)
            if alive[writer]:
                found.add(name)
            else:
                self._fs.unlink(self._root / name)
        return found

    def _is_alive(self, writer: str) -> bool:
        try:
            held = self._fs.lock(self._tmp / writer / LOCK)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if held is None:
            return True
        held.close()
        return False
