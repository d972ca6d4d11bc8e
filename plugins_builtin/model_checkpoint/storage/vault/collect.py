"""Deletes what no checkpoint needs, while others save and load.

::

    one collector at a time (trash/lock); it takes over whatever a dead one left in trash
    needed      the manifests that are there; one that cannot be read stops everything: nothing is deleted then
    repack      a pack with much in it that nobody needs, or that another pack has too, and small packs together: what
                is needed is read, checked, written anew, made durable, and read back before the old pack moves
    trash       packs that nobody needs, by rename; fsync of both folders
    wait        for the saves that were under way at that moment
    decide      read the manifests again: what they need goes back, the rest is removed

The wait is what makes it safe; see ``docs/design/vault.md``. Where a save does not end in time, what is in trash stays
there, readable, until a later collection.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import Buffer, CollectReport
from model_checkpoint.errors import CheckpointEngineError, IntegrityError, StorageFullError
from model_checkpoint.storage.manifest import MAX_NBYTES
from model_checkpoint.storage.safetensors_file import DTYPES
from model_checkpoint.storage.vault.catalog import Catalog
from model_checkpoint.storage.vault.intents import Intents
from model_checkpoint.storage.vault.layout import VaultLayout
from model_checkpoint.storage.vault.manifests import contents, parse_manifest
from model_checkpoint.storage.vault.marks import Marks
from model_checkpoint.storage.vault.pack import MAX_HEADER_NBYTES, PackTensor, entry_room, is_pack_name, pack_name
from model_checkpoint.storage.vault.pack_read import OpenPack, damaged, open_pack
from model_checkpoint.storage.vault.pack_write import PackWriter
from model_checkpoint.storage.workspace import Workspace, Writer

DEAD_SHARE = 0.3
"""A pack is written anew when so much of it is needed by nobody."""
WAIT_S = 10.0
_WORDS = {word: dtype for dtype, (word, _) in DTYPES.items()}
_PAUSE_S = 0.01


MERGE_NBYTES = 4 * 1024 * 1024
"""A pack smaller than this is merged with others, once there are `MERGE_COUNT` of them."""
MERGE_COUNT = 64
_MERGED_NBYTES = 64 * 1024 * 1024
_MOST_MERGED = 512
_MOST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class _Pack:
    """A pack and what of it is to be kept."""

    name: str
    tensors: tuple[PackTensor, ...]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)


@dataclass(slots=True)
class _Plan:
    """What is to become of the packs."""

    unneeded: list[str] = field(default_factory=list)
    rewritten: list[list[_Pack]] = field(default_factory=list)
    """Packs to write anew, those in one list into one."""


class Collector:
    """One collection of one store."""

    def __init__(
        self,
        layout: VaultLayout,
        catalog: Catalog,
        intents: Intents,
        packs: PackWriter,
        marks: Marks,
        fs: FsOps,
        wait_s: float = WAIT_S,
    ) -> None:
        self._layout, self._catalog, self._intents, self._fs = layout, catalog, intents, fs
        self._packs, self._marks = packs, marks
        self._wait_s = wait_s
        self._removed: list[str] = []
        self._nbytes, self._skipped = 0, ""
        self._open: tuple[str, OpenPack] | None = None
        self._sound = set[tuple[str, str]]()  # packs and tensors in them that this run has read and found whole

    def run(self, writer: Writer, workspace: Workspace) -> CollectReport:
        """Collect. Another process that does so now is left to it. Raises OSError, ``IntegrityError``."""
        held = self._fs.lock(self._layout.trash / "lock")
        if held is None:
            return CollectReport((), 0, "another collection is under way")
        try:
            self._sweep(workspace)
            needed = self._needed()
            self._forget()
            self._drop_second_names()
            for _ in range(_MOST_ROUNDS):
                self._catalog.reconcile()
                plan = self._plan(needed)
                self._to_trash(plan.unneeded)
                is_back = self._decide()  # first: on a full disk this makes room for what is written anew
                with self._intents.announced(writer):  # what is written anew has no manifest that names it: we need it
                    replaced = [name for group in plan.rewritten for name in self._try_to_rewrite(writer, group)]
                self._to_trash(replaced)
                if not (self._decide() or is_back):
                    break
                needed = self._needed()  # a pack is back that has what another one has too
            self._catalog.index.tidy()
        finally:
            held.close()
            if self._open is not None:
                self._open[1].close()
        return CollectReport(tuple(self._removed), self._nbytes, self._skipped)

    def _sweep(self, workspace: Workspace) -> None:
        for leftover in workspace.dead_files():
            self._remove(leftover)
        self._intents.living(self._intents.present())

    def _forget(self) -> None:
        """Remove the manifests that `forget` moved to trash, and their marks: from here on nobody takes that back."""
        for name in self._fs.list_dir(self._layout.forgotten):
            self._remove(self._layout.forgotten / name)
        for mark, _, path in self._marks.read():
            if not self._may_be_needed(mark.checkpoint_id):
                self._remove(path)

    def _may_be_needed(self, checkpoint_id: str) -> bool:
        """Say whether there is a manifest, or one in trash that may come back: it may move there and back meanwhile."""
        is_committed, is_forgotten = self._layout.is_committed, self._layout.newest_forgotten
        return is_committed(checkpoint_id) or is_forgotten(checkpoint_id) is not None or is_committed(checkpoint_id)

    def _drop_second_names(self) -> None:
        """Remove from trash what is in ``packs/`` too, under the same name: a power cut leaves a move half done."""
        for name in self._trashed():
            packed = self._fs.identity(self._catalog.packs / name)
            if packed is not None and packed == self._fs.identity(self._layout.trash / name):
                self._fs.unlink(self._layout.trash / name)

    def _trashed(self) -> list[str]:
        return [name for name in self._fs.list_dir(self._layout.trash) if is_pack_name(name)]

    def _needed(self) -> set[str]:
        """Return the digests that manifests name. Raises ``IntegrityError``: where evidence is missing nothing goes."""
        self._layout.refuse_half_a_store()
        needed: set[str] = set()
        for checkpoint_id in self._layout.ids():
            path = self._layout.manifest(checkpoint_id)
            try:
                raw = self._fs.read(path, limit=MAX_NBYTES)
            except FileNotFoundError:  # forgotten since
                continue
            try:
                needed.update(sha256 for sha256, _ in contents(parse_manifest(raw, path, checkpoint_id)))
            except CheckpointEngineError as error:
                raise IntegrityError(
                    f"nothing was cleaned up in {self._layout.root}: {path.name} cannot be read, and what it needs is"
                    f" unknown. Put it back from a copy, or delete that checkpoint ({error})",
                    path=str(path),
                ) from error
        return needed

    def _plan(self, needed: set[str]) -> _Plan:
        plan, homes, small = _Plan(), dict[str, str](), list[_Pack]()
        for name in self._catalog.names():
            try:
                tensors = self._catalog.header(name).tensors
            except FileNotFoundError:
                continue
            except IntegrityError:  # nothing relies on a pack that cannot be read, and who looks after it is a person
                continue
            own = [tensor for tensor in tensors if tensor.sha256 in needed]
            kept = _Pack(name, tuple(t for t in own if t.sha256 not in homes or not self._is_sound(homes[t.sha256], t)))
            homes |= {tensor.sha256: name for tensor in kept.tensors}
            nbytes = sum(tensor.nbytes for tensor in tensors)
            if not kept.tensors:
                plan.unneeded.append(name)
            elif len(kept.tensors) < len(own) or nbytes - kept.nbytes >= max(1, DEAD_SHARE * nbytes):
                plan.rewritten.append([kept])
            elif nbytes < MERGE_NBYTES:
                small.append(kept)
        if len(small) >= MERGE_COUNT:
            plan.rewritten += _grouped(small)
        return plan

    def _is_sound(self, name: str, tensor: PackTensor) -> bool:
        """Say whether that pack holds the bytes of a tensor that another one has too, so that this one may drop it."""
        if (name, tensor.sha256) in self._sound:
            return True
        try:
            pack = self._opened(name)
            is_sound = not damaged([(pack, pack.tensors[tensor.sha256])], "full")
        except (OSError, KeyError):
            return False
        if is_sound:
            self._sound.add((name, tensor.sha256))
        return is_sound

    def _opened(self, name: str) -> OpenPack:
        """Return a pack in ``packs/``; the last one stays open, for it is asked for tensor by tensor."""
        if self._open is None or self._open[0] != name:
            if self._open is not None:
                self._open[1].close()
            self._open = None
            self._open = name, open_pack(self._fs, self._catalog.packs / name)
        return self._open[1]

    def _try_to_rewrite(self, writer: Writer, group: Sequence[_Pack]) -> list[str]:
        """Rewrite, or leave everything as it is where there is no room."""
        try:
            return self._rewrite(writer, group)
        except OSError as error:
            if not isinstance(error, StorageFullError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._skipped = f"there was no room to write {len(group)} packs anew: {error}"
            return []

    def _rewrite(self, writer: Writer, group: Sequence[_Pack]) -> list[str]:
        """Write what is needed of some packs into a new one; return the names of those that it replaces."""
        with contextlib.ExitStack() as ends:
            buffers: list[Buffer] = []
            for old in group:
                try:
                    pack = open_pack(self._fs, self._catalog.packs / old.name)
                except (FileNotFoundError, IntegrityError):
                    return []
                ends.callback(pack.close)
                buffers += [Buffer(t.name, _WORDS[t.dtype], t.shape, pack.memory(t)) for t in old.tensors]
                if damaged([(pack, tensor) for tensor in old.tensors], "full"):  # it stays, for `verify` to find
                    return []
            wanted = [tensor for old in group for tensor in old.tensors]
            temp = writer.path("repack")
            written = self._packs.write(temp, dict(enumerate(_renamed(buffers))), _Nothing())
        if written.header is None or len(written.identities) < len(wanted):
            self._fs.unlink(temp)
            return []
        new = self._catalog.packs / pack_name(written.header.digest)
        self._fs.rename(temp, new)
        self._fs.sync_dir(new.parent)
        copy = open_pack(self._fs, new)
        try:
            whole = all(tensor.sha256 in copy.tensors for tensor in wanted)
            if not whole or damaged([(copy, tensor) for tensor in copy.tensors.values()], "full"):
                self._catalog.set_aside(new)
                return []
        finally:
            copy.close()
        self._catalog.enter(new.name, written.header)
        self._sound |= {(new.name, tensor.sha256) for tensor in wanted}
        return [old.name for old in group]

    def _to_trash(self, names: Iterable[str]) -> None:
        moved = False
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rename(self._catalog.packs / name, self._layout.trash / name)
                moved = True
        if moved:
            self._fs.sync_dir(self._layout.trash)
            self._fs.sync_dir(self._catalog.packs)

    def _decide(self) -> bool:
        """Remove what is in trash, or put it back; return whether anything was put back."""
        trashed = self._trashed()
        if not trashed or not self._all_ended(self._intents.present()):
            return False
        needed, is_back = self._needed(), False
        for name in trashed:
            path = self._layout.trash / name
            try:
                opened = open_pack(self._fs, path)
            except FileNotFoundError:
                continue
            except IntegrityError:  # cannot be told what it holds: kept aside, not deleted
                self._catalog.set_aside(path)
                continue
            opened.close()
            if all(self._is_elsewhere(tensor) for sha256, tensor in opened.tensors.items() if sha256 in needed):
                self._remove(path)
                self._catalog.index.drop([name])
            else:
                self._fs.rename(path, self._catalog.packs / name)
                self._fs.sync_dir(self._catalog.packs)
                self._catalog.enter(name, opened.header)
                is_back = True
        return is_back

    def _is_elsewhere(self, tensor: PackTensor) -> bool:
        """Say whether a pack in ``packs/`` holds the very bytes of a tensor: its header alone is no evidence."""
        home = self._catalog.home(tensor.sha256, tensor.nbytes)
        return home is not None and self._is_sound(home, tensor)

    def _all_ended(self, names: set[str]) -> bool:
        watch = Stopwatch()
        while names := self._intents.living(names):
            if watch.elapsed_s >= self._wait_s:
                return False
            time.sleep(_PAUSE_S)
        return True

    def _remove(self, path: Path) -> None:
        self._nbytes += self._fs.size(path) or 0
        self._fs.unlink(path)
        self._removed.append(self._layout.relative(path))


def _grouped(packs: Sequence[_Pack]) -> list[list[_Pack]]:
    """Return the packs in groups that are written into one pack each: neighbours in time, which end together."""
    groups: list[list[_Pack]] = []
    nbytes = room = 0
    for pack in packs:
        needed = sum(entry_room(tensor.name, tensor.shape) + 8 for tensor in pack.tensors)
        fits = nbytes + pack.nbytes <= _MERGED_NBYTES and room + needed <= MAX_HEADER_NBYTES // 2
        if not groups or not fits or len(groups[-1]) >= _MOST_MERGED:
            groups.append([])
            nbytes = room = 0
        groups[-1].append(pack)
        nbytes += pack.nbytes
        room += needed
    return [group for group in groups if len(group) > 1]


def _renamed(buffers: Sequence[Buffer]) -> Iterator[Buffer]:
    """Yield the buffers, each with a name of its own: those of several packs share theirs."""
    taken: set[str] = set()
    for buffer in buffers:
        name, number = buffer.name, 1
        while name in taken:
            number += 1
            name = f"{buffer.name}~{number}"
        taken.add(name)
        yield buffer if name == buffer.name else replace(buffer, name=name)


class _Nothing:
    """A lookup for which everything is new."""

    def may_hold(self, xxh3: str, nbytes: int) -> bool:
        """No."""
        return False

    def holds(self, sha256: str, nbytes: int) -> bool:
        """No."""
        return False
