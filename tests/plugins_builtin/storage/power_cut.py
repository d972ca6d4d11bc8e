"""A disk that forgets at a power cut whatever was not synced: contents of files, and names in directories."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import IO

from model_checkpoint.testing.faulty_fs import FaultyFs


class ForgetfulFs(FaultyFs):
    """Does everything for real and remembers how to undo what no fsync has made durable yet."""

    def __init__(self, attic: Path) -> None:
        super().__init__()
        self._attic = attic
        self._undo: list[tuple[Path, Callable[[], object]]] = []
        self._unsynced: dict[tuple[int, int], Path] = {}

    def create(self, path: Path) -> IO[bytes]:
        file = super().create(path)
        self._undo.append((path.parent, lambda: path.unlink(missing_ok=True)))
        self._unsynced[_inode(os.fstat(file.fileno()))] = path
        return file

    def sync_file(self, file: IO[bytes]) -> None:
        super().sync_file(file)
        self._unsynced.pop(_inode(os.fstat(file.fileno())), None)

    def sync_dir(self, path: Path) -> None:
        super().sync_dir(path)
        self._undo = [(folder, undo) for folder, undo in self._undo if folder != path]

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self._undo.append((target.parent, lambda: target.unlink(missing_ok=True)))

    def unlink(self, path: Path) -> None:
        kept = self._attic / str(len(list(self._attic.iterdir())))
        if path.exists():
            os.link(path, kept)
        super().unlink(path)
        if kept.exists():
            self._undo.append((path.parent, lambda: path.exists() or os.link(kept, path)))

    def cut(self, forgotten: frozenset[Path], *, contents: bool) -> None:
        """Undo what is not durable in the folders `forgotten`; with `contents`, empty files that were not synced."""
        self.bury()
        for folder, undo in reversed(self._undo):
            if folder in forgotten:
                undo()
        names = [path for folder in {path.parent for path in self._unsynced.values()} for path in folder.iterdir()]
        for path in names if contents else ():
            if _inode(path.stat()) in self._unsynced:
                os.truncate(path, 0)

    def outcomes(self) -> Iterator[frozenset[Path]]:
        """Yield the sets of folders whose names may be lost together."""
        folders = sorted({folder for folder, _ in self._undo})
        for count in range(len(folders) + 1):
            yield from (frozenset(chosen) for chosen in combinations(folders, count))


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
