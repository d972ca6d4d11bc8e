"""Deletes what no checkpoint needs, while others save and load.

::

    one collector at a time (trash/lock); it takes over whatever a dead one left in trash
    needed      the manifests that are there; one that cannot be read stops everything: nothing is deleted then
    repack      a pack with much in it that nobody needs, or that another pack has too: its needed part is written anew,
                checked against the digests while it is read, and durable before the old pack moves
    trash       packs that nobody needs, by rename; fsync of both folders
    wait        for the saves that were under way at that moment
    decide      read the manifests again: what they need goes back, the rest is removed

The wait is what makes it safe; see ``docs/design/vault.md``. Where a save does not end in time, what is in trash stays
there, readable, until a later collection.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import Buffer, CollectReport
from model_checkpoint.errors import CheckpointEngineError, IntegrityError
from model_checkpoint.storage.manifest import MAX_NBYTES, parse
from model_checkpoint.storage.safetensors_file import DTYPES
from model_checkpoint.storage.vault.catalog import Catalog
from model_checkpoint.storage.vault.intents import Intents
from model_checkpoint.storage.vault.layout import VaultLayout
from model_checkpoint.storage.vault.pack import PackHeader, is_pack_name, pack_name
from model_checkpoint.storage.vault.pack_read import open_pack
from model_checkpoint.storage.vault.pack_write import PackWriter
from model_checkpoint.storage.workspace import Workspace, Writer

DEAD_SHARE = 0.3
"""A pack is written anew when so much of it is needed by nobody."""
WAIT_S = 10.0
_WORDS = {word: dtype for dtype, (word, _) in DTYPES.items()}
_PAUSE_S = 0.01


@dataclass(slots=True)
class _Plan:
    """What is to become of the packs."""

    unneeded: list[str] = field(default_factory=list)
    thin: list[tuple[str, PackHeader, set[str]]] = field(default_factory=list)
    """Packs to write anew: name, header, and the digests of what is needed of each."""


class Collector:
    """One collection of one store."""

    def __init__(
        self,
        layout: VaultLayout,
        catalog: Catalog,
        intents: Intents,
        packs: PackWriter,
        fs: FsOps,
        wait_s: float = WAIT_S,
    ) -> None:
        self._layout, self._catalog, self._intents, self._packs, self._fs = layout, catalog, intents, packs, fs
        self._wait_s = wait_s
        self._removed: list[str] = []
        self._nbytes = 0

    def run(self, writer: Writer, workspace: Workspace) -> CollectReport:
        """Collect. Another process that does so now is left to it. Raises OSError, ``IntegrityError``."""
        held = self._fs.lock(self._layout.trash / "lock")
        if held is None:
            return CollectReport((), 0)
        try:
            self._sweep(workspace)
            self._forget()
            self._catalog.reconcile()
            plan = self._plan(self._needed())
            with self._intents.announced(writer):  # what is written anew has no manifest that names it: we need it
                rewritten = [self._rewrite(writer, *thin) for thin in plan.thin]
            self._to_trash([*plan.unneeded, *(name for name in rewritten if name)])
            self._decide()
        finally:
            held.close()
        return CollectReport(tuple(self._removed), self._nbytes)

    def _sweep(self, workspace: Workspace) -> None:
        for leftover in workspace.dead_files():
            self._remove(leftover)
        self._intents.living(self._intents.present())

    def _forget(self) -> None:
        """Remove the manifests that `forget` moved to trash: from here on nobody takes that back."""
        for name in self._fs.list_dir(self._layout.forgotten):
            self._remove(self._layout.forgotten / name)

    def _needed(self) -> set[str]:
        """Return the digests that manifests name. Raises ``IntegrityError``: where evidence is missing nothing goes."""
        needed: set[str] = set()
        for checkpoint_id in self._layout.ids():
            path = self._layout.manifest(checkpoint_id)
            try:
                raw = self._fs.read(path, limit=MAX_NBYTES)
            except FileNotFoundError:  # forgotten since
                continue
            try:
                manifest = parse(raw, path, checkpoint_id, None)
                needed.update(str(buffer.place["sha256"]) for buffer in manifest.buffers)
            except (CheckpointEngineError, KeyError) as error:
                raise IntegrityError(
                    f"nothing was cleaned up in {self._layout.root}: {path.name} cannot be read, and what it needs is"
                    f" unknown. Put it back from a copy, or delete that checkpoint ({error})",
                    path=str(path),
                ) from error
        return needed

    def _plan(self, needed: set[str]) -> _Plan:
        plan, homes = _Plan(), set[str]()
        for name in self._catalog.names():
            try:
                header = self._catalog.header(name)
            except FileNotFoundError:
                continue
            except IntegrityError:  # nothing relies on a pack that cannot be read, and who looks after it is a person
                continue
            own = {tensor.sha256 for tensor in header.tensors} & needed
            fresh = own - homes
            homes |= own
            nbytes = sum(tensor.nbytes for tensor in header.tensors)
            kept = sum(tensor.nbytes for tensor in header.tensors if tensor.sha256 in fresh)
            if not fresh:
                plan.unneeded.append(name)
            elif fresh != own or nbytes - kept >= max(1, DEAD_SHARE * nbytes):
                plan.thin.append((name, header, fresh))
        return plan

    def _rewrite(self, writer: Writer, name: str, header: PackHeader, kept: set[str]) -> str | None:
        """Write the needed part of a pack anew; return the old one's name, or None where it must stay."""
        with contextlib.suppress(FileNotFoundError):
            pack = open_pack(self._fs, self._catalog.packs / name)
            try:
                wanted = [tensor for tensor in header.tensors if tensor.sha256 in kept]
                buffers = {
                    number: Buffer(tensor.name, _WORDS[tensor.dtype], tensor.shape, pack.memory(tensor))
                    for number, tensor in enumerate(wanted)
                }
                temp = writer.path("repack")
                written = self._packs.write(temp, buffers, _Nothing())
            finally:
                pack.close()
            if written.header is None:
                return None
            right = all(written.identities[number].sha256 == tensor.sha256 for number, tensor in enumerate(wanted))
            if not right:  # the old pack is damaged: it stays for `verify` to find
                self._fs.unlink(temp)
                return None
            new = pack_name(written.header.digest)
            self._fs.rename(temp, self._catalog.packs / new)
            self._fs.sync_dir(self._catalog.packs)
            self._catalog.enter(new, written.header)
            return name
        return None

    def _to_trash(self, names: Iterable[str]) -> None:
        moved = False
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rename(self._catalog.packs / name, self._layout.trash / name)
                moved = True
        if moved:
            self._fs.sync_dir(self._layout.trash)
            self._fs.sync_dir(self._catalog.packs)

    def _decide(self) -> None:
        trashed = [name for name in self._fs.list_dir(self._layout.trash) if is_pack_name(name)]
        if not trashed or not self._all_ended(self._intents.present()):
            return
        needed = self._needed()
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
            own = {sha256: tensor.nbytes for sha256, tensor in opened.tensors.items() if sha256 in needed}
            if all(self._catalog.holds(sha256, nbytes) for sha256, nbytes in own.items()):
                self._remove(path)
                self._catalog.index.drop([name])
            else:
                self._fs.rename(path, self._catalog.packs / name)
                self._fs.sync_dir(self._catalog.packs)
                self._catalog.enter(name, opened.header)

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


class _Nothing:
    """A lookup for which everything is new."""

    def may_hold(self, xxh3: str, nbytes: int) -> bool:
        """No."""
        return False

    def holds(self, sha256: str, nbytes: int) -> bool:
        """No."""
        return False
