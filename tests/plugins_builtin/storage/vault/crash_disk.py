"""A disk that remembers every change: what may be left of it after a power cut, `crash_states.py` tells.

`RecordingFs` does everything for real, so that the shipped code runs on it, and notes it in the journal of a `Disk`.
"""

from __future__ import annotations

import itertools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.common.locks import HeldLock

States = runpy.run_path(str(Path(__file__).with_name("crash_states.py")))
Moment, Named, Step, TOP, rebuild = (States[name] for name in ("Moment", "Named", "Step", "TOP", "rebuild"))
Skip = Callable[[str, str], bool]
"""Whether to leave out a sync, from what it is called and what came before it."""


class Disk:
    """The journal of everything that was done below one folder, which is there and empty at the beginning."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.steps: list[Any] = []
        self._folders, self._names = {top: TOP}, {TOP: dict[str, int]()}
        self._numbers, self._moves = itertools.count(1), itertools.count(1)

    def moments(self) -> list[Any]:
        """Return the moment after every step."""
        moments = [Moment()]
        for step in self.steps:
            moments.append(moments[-1].after(step))
        return moments[1:]

    def say(self, *what: str) -> None:
        """Note what the program tells the world now."""
        self.steps.append(Step(" ".join(what), said=what))

    def pause(self) -> None:
        """Let so much time pass that everything is durable."""
        self.steps.append(Step("pause", is_pause=True))

    def text(self, call: str, *paths: Path) -> str:
        """Return how the journal names a call."""
        return " ".join([call, *(path.relative_to(self.top).as_posix() for path in paths)])

    def node(self, path: Path) -> int | None:
        """Return the number of what has that name now."""
        folder = self._folders.get(path.parent)
        return None if folder is None else self._names[folder].get(path.name)

    def made(self, call: str, path: Path, *, is_folder: bool = False) -> int:
        """Note a new file or folder."""
        number = next(self._numbers)
        if is_folder:
            self._folders[path], self._names[number] = number, {}
        self.steps.append(Step(self.text(call, path), (self._named(path, number),), 0 if is_folder else number, b""))
        return number

    def named(self, call: str, source: Path, target: Path, *, is_move: bool) -> None:
        """Note that a file has another name, or one more."""
        move = next(self._moves) if is_move else 0
        added = self._named(target, self.node(source), move)
        self.steps.append(
            Step(self.text(call, source, target), (added, self._named(source, None, move)) if is_move else (added,))
        )

    def gone(self, call: str, path: Path) -> None:
        """Note that a name has gone."""
        if self.node(path) is not None:
            self.steps.append(Step(self.text(call, path), (self._named(path, None),)))
            self._folders.pop(path, None)

    def changed(self, call: str, path: Path, number: int, content: bytes | None) -> None:
        """Note all of a file's new content, or with None that it was synced."""
        self.steps.append(Step(self.text(call, path), file=number, content=content))

    def synced(self, call: str, path: Path) -> None:
        """Note that the names in a folder are durable."""
        self.notice(path)
        self.steps.append(Step(self.text(call, path), synced_folder=self._folders[path]))

    def notice(self, path: Path) -> None:
        """Note the folders that were made in this one."""
        for child in sorted(path.iterdir()):
            if child.is_dir() and self.node(child) is None:
                self.made("mkdir", child, is_folder=True)

    def _named(self, path: Path, node: int | None, move: int = 0) -> Any:
        folder = self._folders[path.parent]
        if node is None:
            self._names[folder].pop(path.name)
        else:
            self._names[folder][path.name] = node
        return Named(folder, path.name, node, move)


class RecordedFile:
    """A file open for writing."""

    def __init__(self, file: IO[bytes], path: Path, disk: Disk) -> None:
        self._file, self.path, self._disk = file, path, disk
        self.number = disk.made("create", path)

    def write(self, data: memoryview) -> int:
        """Write and note what the file holds then."""
        count = self._file.write(data)
        self.note("write")
        return count

    def note(self, call: str) -> None:
        """Note what the file holds now."""
        self._disk.changed(call, self.path, self.number, self.path.read_bytes())

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RecordedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class RecordingFs(FsOps):
    """One process's calls. Others may share the disk, and `interrupt` lets one of them work in the middle of a call."""

    def __init__(self, disk: Disk, skip: Skip = lambda call, before: False) -> None:
        self.disk, self._skip = disk, skip
        self._interrupts: list[tuple[Callable[[str], bool], Callable[[], object]]] = []
        self._before = ""

    def interrupt(self, when: Callable[[str], bool], work: Callable[[], object]) -> None:
        """Do `work` once, before the first call for which `when` holds."""
        self._interrupts.append((when, work))

    def _announce(self, call: str, *paths: Path) -> bool:
        """Let others interrupt; say whether the call, which is a sync, is to be left out."""
        text = self.disk.text(call, *paths)
        due = next((each for each in self._interrupts if each[0](text)), None)
        if due is not None:
            self._interrupts.remove(due)
            due[1]()
        before, self._before = self._before, text
        return self._skip(text, before)

    def make_dirs(self, path: Path) -> None:
        super().make_dirs(path)
        for each in reversed([path, *path.parents]):
            if each.is_relative_to(self.disk.top):
                self.disk.notice(each)

    def create(self, path: Path) -> IO[bytes]:
        self._announce("create", path)
        return cast("IO[bytes]", RecordedFile(super().create(path), path, self.disk))

    def write_at(self, file: Any, data: memoryview, offset: int) -> int:
        count = super().write_at(file, data, offset)
        file.note("write_at")
        return count

    def bypass_cache(self, file: IO[bytes], on: bool) -> bool:
        return False

    def truncate(self, file: Any, nbytes: int) -> None:
        super().truncate(file, nbytes)
        file.note("truncate")

    def sync_file(self, file: Any) -> None:
        if not self._announce("sync_file", file.path):
            self.disk.changed("sync_file", file.path, file.number, None)

    def sync_dir(self, path: Path) -> None:
        if path.is_relative_to(self.disk.top):
            self.disk.notice(path)
            if not self._announce("sync_dir", path):
                self.disk.synced("sync_dir", path)

    def rename(self, source: Path, target: Path) -> None:
        self._announce("rename", source, target)
        super().rename(source, target)
        self.disk.named("rename", source, target, is_move=True)

    def link(self, source: Path, target: Path) -> None:
        self._announce("link", source, target)
        super().link(source, target)
        self.disk.named("link", source, target, is_move=False)

    def unlink(self, path: Path) -> None:
        self._announce("unlink", path)
        super().unlink(path)
        self.disk.gone("unlink", path)

    def remove_dir(self, path: Path) -> None:
        super().remove_dir(path)
        self.disk.gone("rmdir", path)

    def lock(self, path: Path, *, timeout_s: float = 0.0) -> HeldLock | None:
        held = super().lock(path, timeout_s=timeout_s)
        if self.disk.node(path) is None:
            self.disk.made("lock", path)
        return held
