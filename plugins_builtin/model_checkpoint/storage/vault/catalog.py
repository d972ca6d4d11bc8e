"""Where the tensors of a vault are: finds, opens and remembers packs, and keeps the index beside them true."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import IntegrityError
from model_checkpoint.storage.vault.index import PackIndex
from model_checkpoint.storage.vault.pack import PackHeader, PackTensor, is_pack_name
from model_checkpoint.storage.vault.pack_read import OpenPack, open_pack

_HEADERS = 512
_MOST_MAPPED = 128
"""A read of more packs than this copies what it needs of those beyond: each mapping may cost a file descriptor."""
Found = tuple[OpenPack, PackTensor]
Skip = frozenset[tuple[Path, str]]
"""Files, each with the SHA-256 of a tensor that is damaged in it."""


class Catalog:
    """The packs of one store, as one process sees them. Safe to use from several threads."""

    def __init__(self, root: Path, fs: FsOps) -> None:
        self.packs, self.trash, self.quarantine = root / "packs", root / "trash", root / "quarantine"
        self.index = PackIndex(root / "index.sqlite", self.reconcile)
        self._fs = fs
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, dict[str, int]] = OrderedDict()  # pack -> SHA-256 -> nbytes, checked

    def names(self) -> list[str]:
        """Return the names of all packs, the oldest first."""
        return [name for name in self._fs.list_dir(self.packs) if is_pack_name(name)]

    def reconcile(self) -> None:
        """Let the index know exactly the packs that are there: others come from processes that died or from copies."""
        present, known = set(self.names()), self.index.names()
        self.index.drop(known - present)
        for name in sorted(present - known):
            with contextlib.suppress(FileNotFoundError, IntegrityError):  # damaged: `verify` says so to who needs it
                self.index.enter([(name, self.header(name))])

    def header(self, name: str) -> PackHeader:
        """Return the header of a pack. Raises FileNotFoundError, ``IntegrityError``."""
        opened = open_pack(self._fs, self.packs / name)
        opened.close()
        return opened.header

    def home(self, sha256: str, nbytes: int) -> str | None:
        """Return the name of a pack that holds the tensor: it is in ``packs/`` now, and its checked header names it."""
        for name in self.index.where(sha256):
            if self._fs.identity(self.packs / name) is None:  # trash never counts
                self.index.drop([name])
                continue
            try:
                if self._contents(name).get(sha256) == nbytes:
                    return name
            except FileNotFoundError:
                continue
            except IntegrityError:  # aside with it, or every later tensor has it read again
                self.set_aside(self.packs / name)
        return None

    def enter(self, name: str, header: PackHeader) -> None:
        """Take in a pack that now is in ``packs/``."""
        self.index.enter([(name, header)])
        self.remember(name, header)

    def candidates(self, sha256: str, hint: str, look: Callable[[], object]) -> Iterator[Path]:
        """Yield the files that may hold a tensor, the likeliest first; some twice, for a collection may move a pack.

        `look` lets the index know what is there now, before the second time.

        It moves one at most to trash and back while a checkpoint needs it, so a second look into ``packs/`` is enough.
        """
        hinted = [hint] if is_pack_name(hint) else []
        for folder in (self.packs, self.trash, self.quarantine):
            yield from (folder / name for name in hinted)
            if folder == self.packs:
                yield from (folder / name for name in self.index.where(sha256) if name not in hinted)
        look()
        yield from (self.packs / name for name in dict.fromkeys([*hinted, *self.index.where(sha256)]))
        for folder in (self.trash, self.quarantine):  # on its way out and needed after all; damaged in another tensor
            yield from (folder / name for name in self._fs.list_dir(folder) if is_pack_name(name))

    def set_aside(self, path: Path) -> None:
        """Move a damaged pack to ``quarantine/``: nothing relies on it any more, readers find its sound tensors there.

        The next save of a tensor that was damaged stores it anew, and every checkpoint that needs it is whole again.
        """
        if path.parent == self.quarantine:
            return
        with contextlib.suppress(OSError):  # a store that cannot be written to
            self._fs.make_dirs(self.quarantine)
            target = self.quarantine / path.name
            if self._fs.identity(target) == self._fs.identity(path):  # half moved by a power cut: rename does nothing
                self._fs.unlink(path)
            else:
                self._fs.rename(path, target)
            self._fs.sync_dir(self.quarantine)  # first: a power cut leaves it in one of the two
            self._fs.sync_dir(path.parent)
        self.index.drop([path.name])
        with self._lock:
            self._sizes.pop(path.name, None)

    def _contents(self, name: str) -> dict[str, int]:
        with self._lock:
            known = self._sizes.get(name)
        return known if known is not None else self.remember(name, self.header(name))

    def remember(self, name: str, header: PackHeader) -> dict[str, int]:
        """Keep in mind which tensors a pack holds, by SHA-256, with their lengths."""
        sizes = {tensor.sha256: tensor.nbytes for tensor in header.tensors}
        with self._lock:
            self._sizes[name] = sizes
            while len(self._sizes) > _HEADERS:
                self._sizes.popitem(last=False)
        return sizes

    def close(self) -> None:
        """Release the index."""
        self.index.close()


class Homes:
    """Where one save finds its tensors: what it asked for, and what it wrote itself."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[str, str] = {}
        self.written: list[tuple[str, PackHeader]] = []

    def __getitem__(self, sha256: str) -> str:
        """Return the pack of a tensor that this save relies on."""
        return self._known[sha256]

    def may_hold(self, xxh3: str, nbytes: int) -> bool:
        """Say whether content of that fast digest may be stored; False is certain as far as the index knows."""
        return self._catalog.index.may_hold(xxh3)

    def holds(self, sha256: str, nbytes: int) -> bool:
        """Say whether a pack holds the tensor, and rely on that pack from now on."""
        home = self._known.get(sha256) or self._catalog.home(sha256, nbytes)
        if home is not None:
            self._known[sha256] = home
        return home is not None

    def add(self, name: str, header: PackHeader) -> None:
        """Take in a pack that this save has written."""
        self.written.append((name, header))
        self._catalog.remember(name, header)
        self._known |= {tensor.sha256: name for tensor in header.tensors}


class Reader:
    """Opens packs for one read; closes their files at the end. Memory taken from them stays valid."""

    def __init__(self, catalog: Catalog, fs: FsOps) -> None:
        self._catalog, self._fs = catalog, fs
        self._open: dict[Path, OpenPack] = {}
        self._failed: dict[Path, IntegrityError] = {}
        self._has_looked = False

    def tensor(self, sha256: str, xxh3: str, nbytes: int, hint: str, skip: Skip) -> Found:
        """Return a tensor and its pack; those of `skip` are passed over.

        Raises FileNotFoundError with the likeliest file's name, ``IntegrityError`` where every pack is damaged.
        """
        failure: Exception | None = None
        for path in self._catalog.candidates(sha256, hint, self._look):
            if (path, sha256) in skip:
                continue
            try:
                pack = self._pack(path)
            except FileNotFoundError as error:
                failure = failure or FileNotFoundError(error.errno, error.strerror, str(path))
                continue
            except IntegrityError as error:
                failure = error
                continue
            tensor = pack.tensors.get(sha256)
            if tensor is not None and (tensor.nbytes, tensor.xxh3) == (nbytes, xxh3):
                return pack, tensor
        raise failure or FileNotFoundError(2, "no pack holds it", str(self._catalog.packs / hint))

    def _look(self) -> None:
        if not self._has_looked:  # once: there may be a thousand tensors
            self._has_looked = True
            self._catalog.reconcile()

    def close(self) -> None:
        """Close the files."""
        for pack in self._open.values():
            pack.close()
        self._open.clear()

    def _pack(self, path: Path) -> OpenPack:
        known = self._open.get(path)
        if known is None:
            if (failure := self._failed.get(path)) is not None:
                raise failure
            try:
                known = self._open[path] = open_pack(self._fs, path, mapped=len(self._open) < _MOST_MAPPED)
            except IntegrityError as error:  # once is enough: there may be a thousand tensors
                self._failed[path] = error
                raise
        return known
