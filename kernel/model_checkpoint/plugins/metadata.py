"""Lists entry points from the metadata of what is installed, and imports none of it.

``importlib_metadata``, the back-port, takes the finders of ``importlib.metadata`` away when it is imported, and what
the two make of an odd distribution differs. So only the folders come from the library; what lies in them is read here.

::

    sys.meta_path -> folders *.dist-info -> the first of each name on sys.path -> its entry_points.txt -> METADATA
                                                                               (only where the group is in it)
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.message import Message
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.errors import PluginLoadError
from model_checkpoint.plugins.requirements import is_version, normalized

if TYPE_CHECKING:
    from importlib.metadata import Distribution

LIMIT = 1 << 20
"""Bytes of a file of metadata that are read: headers come first, and the rest is description."""
_BLANK_LINE = re.compile(r"\r?\n\r?\n")
_TARGET = re.compile(r"(\w+(?:\.\w+)*)\s*(?::\s*(\w+(?:\.\w+)*)\s*)?(?:\[.*\])?")


@dataclass(frozen=True, slots=True)
class RawEntryPoint:
    """One line of an ``entry_points.txt``."""

    name: str
    value: str
    """``package.module`` or ``package.module:object``; empty where the line has no ``=``."""
    distribution: str
    """Empty where an uninstall left the folder behind without its METADATA."""
    version: str
    load: Callable[[], object] = field(compare=False, repr=False)
    """Import it. Raises ``PluginLoadError`` for a value that names nothing, and what the import raises."""
    requires_dist: Callable[[], list[str]] = field(compare=False, repr=False)
    """Return its ``Requires-Dist`` as they are written."""


def entry_points(group: str) -> list[RawEntryPoint]:
    """Return the entry points of `group`, in the order of ``sys.path``, without doubles.

    Of several installations of one distribution the first on ``sys.path`` counts; one whose METADATA is gone counts
    only where there is no other, and of several in one folder the newest. What cannot be read is left out.
    """
    found: dict[tuple[str, str, str, str], RawEntryPoint] = {}
    for folder in _installed():
        text = folder.read("entry_points.txt")
        if group not in text:
            continue
        headers = folder.headers()
        distribution, version = _header(headers, "Name"), _header(headers, "Version")
        if distribution and folder.name and normalized(distribution) != folder.name:
            distribution = folder.name  # METADATA may claim to be anybody, us too; the folder is what pip goes by
        for name, value in _lines_of(text, group):
            found.setdefault(
                (name, value, distribution, version),
                RawEntryPoint(
                    name,
                    value,
                    distribution,
                    version,
                    load=partial(_load, name, value, distribution),
                    requires_dist=folder.requires_dist,
                ),
            )
    return list(found.values())


class _Folder:
    """The metadata of one installation: a folder, or whatever another finder keeps instead."""

    def __init__(self, found: Distribution) -> None:
        self._found = found
        path = getattr(found, "_path", None)  # what both libraries call it; a finder of others may have none
        self._is_plain = isinstance(path, Path)
        self.path = str(path).rstrip(os.sep) if path is not None else ""
        place, name = os.path.split(self.path)
        self.place = place or "." if path is not None else ""
        stem, suffix = os.path.splitext(name)
        named = suffix in (".dist-info", ".egg-info") and stem
        self.name = normalized(stem.partition("-")[0] if named else _header(self.headers(), "Name"))

    def read(self, filename: str) -> str:
        """Return the beginning of a file as text, and nothing where it cannot be read."""
        try:
            if not self._is_plain:
                return (self._found.read_text(filename) or "")[:LIMIT]
            return read_regular(os.path.join(self.path, filename), LIMIT).decode("utf-8", "replace")
        except (OSError, ValueError, KeyError, NotImplementedError):  # the latter two from archives
            return ""

    def headers(self) -> Message:
        """Return the headers of its METADATA, or of the PKG-INFO of an older installer."""
        from email.parser import HeaderParser

        text = self.read("METADATA") or self.read("PKG-INFO")
        return HeaderParser().parsestr(_BLANK_LINE.split(text, maxsplit=1)[0])  # the parser would read on to the end

    def requires_dist(self) -> list[str]:
        """Return what it needs, as its METADATA says."""
        return [" ".join(str(line).split()) for line in self.headers().get_all("Requires-Dist") or ()]


def _installed() -> list[_Folder]:
    """Return one installation of each distribution, in the order of ``sys.path``."""
    from importlib.metadata import distributions

    places = [place for place in sys.path if isinstance(place, str)]
    rank = {str(Path(place)): number for number, place in reversed(list(enumerate(places)))}
    by_path: dict[object, _Folder] = {}
    for found in distributions(path=places):
        folder = _Folder(found)
        by_path.setdefault(folder.path or found, folder)
    ranked = sorted(by_path.values(), key=lambda folder: (rank.get(folder.place, len(places)), folder.path))
    by_name: dict[object, list[_Folder]] = {}
    for folder in ranked:
        by_name.setdefault(folder.name or folder, []).append(folder)
    return [same[0] if len(same) == 1 else _chosen(same) for same in by_name.values()]


def _chosen(same: list[_Folder]) -> _Folder:
    """Return the one of several installations of a distribution that counts."""
    whole = [folder for folder in same if _header(folder.headers(), "Name")] or same
    here = [folder for folder in whole if folder.place == whole[0].place]
    if len(here) == 1:
        return here[0]
    from packaging.version import Version

    def age(folder: _Folder) -> Version:
        version = _header(folder.headers(), "Version")
        return Version(version if is_version(version) else "0")

    return max(here, key=age)


def _lines_of(text: str, group: str) -> Iterable[tuple[str, str]]:
    """Yield name and value of each line in the sections called `group`."""
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            inside = line.strip("[]") == group
        elif inside and line and not line.startswith("#"):
            name, _, value = map(str.strip, line.partition("="))
            if name:
                yield name, value


def _load(name: str, value: str, distribution: str) -> object:
    """Import what an entry point names."""
    from importlib import import_module

    target = _TARGET.fullmatch(value)
    if target is None:
        raise PluginLoadError(
            f"the entry point {name!r} of {distribution or 'an unknown distribution'} names {value!r}:"
            " it must be package.module or package.module:object; correct it and install the distribution again"
        )
    return reduce(getattr, (target[2] or "").split(".") if target[2] else (), import_module(target[1]))


def _header(headers: Message, name: str) -> str:
    return " ".join(str(headers.get(name, "")).split())  # one line, whatever it was


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return at most `limit` bytes of a file; symbolic links are followed, for some installers make nothing else.

    Raises OSError, also for what is no regular file; a FIFO is not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)
