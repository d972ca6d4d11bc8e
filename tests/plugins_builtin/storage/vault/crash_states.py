"""What may be left of a disk after a power cut at any moment.

::

    contents    durable once the file is synced; until then they may be there, in part, as zeros, or not at all
    names       durable once their folder is synced; until then each change of a folder may have come or not,
                independently of all others, whatever their order was
    a rename    adds a name in one folder and takes one away in another. Three kinds of disks are told apart:
                ``whole``   both or neither, as on a file system with a journal
                ``kept``    perhaps only the new name; the old one alone goes if only its folder is synced
                ``apart``   one has nothing to do with the other: then no rename of the only copy is safe
    everything  that was not said to be synced may be durable all the same

Rights are no part of it, nor is what goes past `FsOps`, which is the index: a cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

Tree = dict[str, tuple[int, bytes] | None]
"""What lies on a disk, by relative path: number and content of a file, which may have two names; None for a folder."""
TOP = 0


@dataclass(frozen=True, slots=True)
class Named:
    """One change of the names in a folder."""

    folder: int
    name: str
    node: int | None
    """The file or folder that has the name now; None where it has gone."""
    move: int = 0
    """The number of the rename that it is one half of."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the disk."""

    text: str
    named: tuple[Named, ...] = ()
    file: int = 0
    """The file whose content changes or is synced."""
    content: bytes | None = None
    """All of the content from now on; None where the file is synced."""
    synced_folder: int | None = None
    is_pause: bool = False
    """So long that everything is durable afterwards."""
    said: tuple[str, ...] = ()
    """What the program told the world at this moment."""


@dataclass(frozen=True, slots=True)
class File:
    """The content of a file: what is durable, and what a reader sees."""

    durable: bytes = b""
    now: bytes = b""
    is_dirty: bool = False

    def possible(self) -> list[bytes]:
        """Return what it may be after a power cut; what a reader sees now first."""
        half = len(self.now) // 2
        torn = self.now[:half], self.now[:half] + bytes(len(self.now) - half), bytes(len(self.now))
        return [*dict.fromkeys((self.now, self.durable, *torn))] if self.is_dirty else [self.durable]


@dataclass(slots=True)
class Moment:
    """The disk right after one step: what is durable, and what is still on its way."""

    number: int = 0
    text: str = ""
    names: dict[int, dict[str, int]] = field(default_factory=lambda: {TOP: {}})
    pending: list[Named] = field(default_factory=list)
    files: dict[int, File] = field(default_factory=dict)
    said: tuple[tuple[str, ...], ...] = ()

    def after(self, step: Step) -> Moment:
        """Return the moment after one more step."""
        names, pending, files = self.names, [*self.pending, *step.named], self.files
        if step.is_pause:
            names, pending = {folder: dict(entries) for folder, entries in names.items()}, []
            for change in self.pending:
                _apply(change, names)
            files = {number: File(file.now, file.now) for number, file in files.items()}
        if step.synced_folder is not None:
            names = {**names, step.synced_folder: dict(names.get(step.synced_folder, {}))}
            for change in pending:
                if change.folder == step.synced_folder:
                    _apply(change, names)
            pending = [change for change in pending if change.folder != step.synced_folder]
        if step.file:
            known = files.get(step.file, File())
            synced = File(known.now, known.now)
            files = {**files, step.file: synced if step.content is None else File(known.durable, step.content, True)}
        seen = _reachable(names, pending)  # a folder that no name leads to any more never comes back
        pending = [change for change in pending if change.move or change.folder in seen]
        said = (*self.said, step.said) if step.said else self.said
        return Moment(self.number + 1, step.text, names, pending, files, said)

    def trees(self, chosen: Random, most: int, renames: str) -> Iterator[Tree]:
        """Yield what may be left by a power cut now: everything where that is at most `most`, else a choice of it."""
        dirty, count = self._dirty(), self.count()
        if count <= most:
            for picked in itertools.product(*self._last_to_come()):
                came = [number in picked for number in range(len(self.pending))]
                for contents in itertools.product(*dirty.values()):
                    yield self.tree(came, dict(zip(dirty, contents, strict=True)), renames)
            return
        for _ in range(most):
            each = {number: chosen.choice(possible) for number, possible in dirty.items()}
            yield self.tree(self._some(chosen), each, renames)

    def count(self) -> int:
        """Return how many combinations there are, of which several may leave the same tree."""
        return math.prod(len(each) for each in (*self._last_to_come(), *self._dirty().values()))

    def _last_to_come(self) -> list[list[int | None]]:
        """Return, for every name, which of its changes may be the last to have come: what came before is unseen."""
        found: dict[tuple[int, str], dict[tuple[int | None, int], int | None]] = {}
        for number, change in enumerate(self.pending):
            before = self.names.get(change.folder, {}).get(change.name)
            outcomes = found.setdefault((change.folder, change.name), {(before, 0): None})
            outcomes.setdefault((change.node, change.move), number)
        return [list(outcomes.values()) for outcomes in found.values()]

    def _dirty(self) -> dict[int, list[bytes]]:
        """Return what the files may be that are not durable and have, or may get, a name."""
        seen = sorted(_reachable(self.names, self.pending))
        possible = {number: self.files[number].possible() for number in seen if number in self.files}
        return {number: contents for number, contents in possible.items() if len(contents) > 1}

    def _some(self, chosen: Random) -> list[bool]:
        """Choose changes, folder by folder: any, or else all, none, the first ones, all but one, or one alone."""
        came, are_any = [True] * len(self.pending), chosen.random() < 0.5
        for folder in {change.folder for change in self.pending}:
            places = [number for number, change in enumerate(self.pending) if change.folder == folder]
            how = 5 if are_any else chosen.randrange(6)
            cut, likely = chosen.randrange(len(places)), chosen.choice((0.15, 0.5, 0.85))
            for rank, place in enumerate(places):
                came[place] = (True, False, rank < cut, rank != cut, rank == cut, chosen.random() < likely)[how]
        return came

    def tree(self, came: list[bool], contents: Mapping[int, bytes], renames: str) -> Tree:
        """Return what is left where those of the pending changes have `came`, and dirty files have those contents."""
        came = list(came)
        halves: dict[int, list[int]] = {}
        for number, change in enumerate(self.pending):
            if change.move:
                halves.setdefault(change.move, []).append(number)
        for places in halves.values():
            _join(self.pending, came, places, renames)
        names = {folder: dict(entries) for folder, entries in self.names.items()}
        for change, has_come in zip(self.pending, came, strict=True):
            if has_come:
                _apply(change, names)
        found: Tree = {}
        self._walk(TOP, "", names, contents, found)
        return found

    def _walk(
        self, folder: int, path: str, names: dict[int, dict[str, int]], contents: Mapping[int, bytes], found: Tree
    ) -> None:
        for name, node in sorted(names.get(folder, {}).items()):
            if node in self.files:
                found[path + name] = node, contents.get(node, self.files[node].durable)
            else:
                found[path + name] = None
                self._walk(node, f"{path}{name}/", names, contents, found)


def _reachable(names: dict[int, dict[str, int]], pending: list[Named]) -> set[int]:
    """Return what some name leads to, or may lead to."""
    children = {folder: [*entries.values()] for folder, entries in names.items()}
    for change in pending:
        children.setdefault(change.folder, []).extend([] if change.node is None else [change.node])
    seen, left = {TOP}, [TOP]
    while left:
        new = set(children.get(left.pop(), [])) - seen
        seen |= new
        left += new
    return seen


def _apply(change: Named, names: dict[int, dict[str, int]]) -> None:
    entries = names.setdefault(change.folder, {})
    if change.node is None:
        entries.pop(change.name, None)
    else:
        entries[change.name] = change.node


def _join(pending: list[Named], came: list[bool], places: list[int], renames: str) -> None:
    """Let the halves of one rename come as they may. A half that is alone here: the other is durable already."""
    added = next((place for place in places if pending[place].node is not None), None)
    gone = next((place for place in places if pending[place].node is None), None)
    if renames == "whole":
        both = True if added is None or gone is None else came[added]
        for place in places:
            came[place] = both
    elif renames == "kept" and added is not None and gone is not None and came[gone]:
        came[added] = True


def rebuild(tree: Tree, folder: Path) -> None:
    """Make what is left of a disk, for real."""
    folder.mkdir()
    made = dict[int, Path]()
    for path, file in tree.items():
        if file is None:
            (folder / path).mkdir()
        elif file[0] in made:
            (folder / path).hardlink_to(made[file[0]])
        else:
            made[file[0]] = folder / path
            (folder / path).write_bytes(file[1])
