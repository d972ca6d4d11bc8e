"""The vault as a storage backend. ``docs/design/vault.md`` tells the order of its steps and why it is safe."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from model_checkpoint.common.digest import sha256_hex
from model_checkpoint.common.fsops import FsOps, publish_new, typed_errors, typed_read_errors, write_temp
from model_checkpoint.common.ids import checked_name
from model_checkpoint.contracts import (
    Buffer,
    CheckpointPayload,
    CollectReport,
    Mark,
    StorageCapabilities,
    StoredCheckpoint,
    StoredFile,
    VerifyReport,
    WriteReceipt,
)
from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    IntegrityError,
    MissingFileError,
    StorageError,
)
from model_checkpoint.storage.manifest import (
    MAX_NBYTES,
    Manifest,
    compose,
    described,
    state_text,
)
from model_checkpoint.storage.vault.catalog import Catalog, Homes, Reader
from model_checkpoint.storage.vault.collect import Collector
from model_checkpoint.storage.vault.format_file import check_format, write_format
from model_checkpoint.storage.vault.intents import Intents
from model_checkpoint.storage.vault.layout import VaultLayout
from model_checkpoint.storage.vault.manifests import contents, parse_manifest, placed
from model_checkpoint.storage.vault.marks import Marks
from model_checkpoint.storage.vault.pack import PackHeader, pack_name
from model_checkpoint.storage.vault.pack_read import damaged
from model_checkpoint.storage.vault.pack_write import Identity, PackWriter
from model_checkpoint.storage.vault.sound import READING, damage, distinct, locate, sound
from model_checkpoint.storage.workspace import Workspace, Writer

_ATTEMPTS = (False, False, False, True)
"""Whether an attempt to read is the last one."""


class VaultStore:
    """Keeps every distinct tensor once. Safe to use from threads and processes."""

    name = "vault"
    capabilities = StorageCapabilities(
        durable=True, file_suffix=None, can_undo=True, keeps_marks=True, depths=("header", "fast", "full")
    )

    def __init__(self, root: Path, fs: FsOps) -> None:
        self._fs = fs
        self._layout = VaultLayout(root, fs)
        self._workspace = Workspace(root / "tmp", fs)
        self._inherited: list[Catalog] = []
        self._start_anew()
        _stores.add(self)

    def inherit(self) -> None:
        """Make a forked child's copy usable: with locks that nobody holds and a connection of its own."""
        self._inherited.append(self._catalog)  # closing a connection here would let go of its parent's locks
        self._start_anew()

    def _start_anew(self) -> None:
        root, fs = self._layout.root, self._fs
        self._intents = Intents(root / "intents", root / "tmp", fs)
        self._catalog = Catalog(root, fs)
        self._marks = Marks(root / "marks", fs)
        self._packs = PackWriter(fs)
        self._remembered: dict[str, Identity] = {}
        self._expected_new: int | None = None
        self._remembering, self._beginning = threading.Lock(), threading.Lock()
        self._checked: set[tuple[bool, bool]] = set()

    def write(self, payload: CheckpointPayload) -> WriteReceipt:
        """Store `payload` durably, or raise and leave nothing of it visible.

        Raises ``CheckpointExistsError``, ``InvalidNameError``, ``UnstorableStateError``, ``StorageError``.
        """
        checkpoint_id = checked_name(payload.checkpoint_id, "a checkpoint")
        state = state_text(payload)  # refuses what it must before anything is written
        path = self._layout.manifest(checkpoint_id)
        with typed_errors("writing", path):
            self._check_format(write=True)
            self._layout.refuse_committed(checkpoint_id)
            writer = self._begin()
            homes = Homes(self._catalog)
            with self._intents.announced(writer), _entered(self._catalog, homes):
                identities, packs = self._store_tensors(writer, payload.buffers, homes)
                packs_of, places = placed((each.sha256, each.xxh3, homes[each.sha256]) for each in identities)
                content, digest = compose(payload, state, None, places, packs_of)
                self._commit(writer, path, content)
        self._remember(payload.buffers, identities)
        used = [(each.sha256, each.nbytes) for each in identities]
        self._catalog.index.enter(homes.written, checkpoint_id, used)
        manifest = StoredFile(self._layout.relative(path), len(content), sha256_hex(content))
        files = (*packs, manifest)
        return WriteReceipt(checkpoint_id, digest, payload.nbytes, sum(file.nbytes for file in files), files)

    def read(self, checkpoint_id: str, *, expected_digest: str | None = None, depth: str = "full") -> CheckpointPayload:
        """Return the checkpoint. Every tensor is checked as `depth` says before anything is given out.

        Raises ``CheckpointNotFoundError``, ``IntegrityError``, ``StorageError``.
        """
        for is_last in _ATTEMPTS:
            manifest = self._manifest(checkpoint_id, expected_digest)
            try:
                return self._read(manifest, depth)
            except IntegrityError as error:
                # forgotten meanwhile, or written again under the same id, or moved by one collection after another
                found = self._manifest(checkpoint_id, None)
                if is_last or (found.digest == manifest.digest and not isinstance(error, MissingFileError)):
                    raise
        raise AssertionError

    def _read(self, manifest: Manifest, depth: str) -> CheckpointPayload:
        reader = Reader(self._catalog, self._fs)
        try:
            with typed_read_errors(self._layout.root):
                located = sound(reader, self._catalog, manifest, depth)
                self._layout.refuse_unknown(manifest.checkpoint_id)  # forgotten meanwhile
                buffers = tuple(
                    Buffer(buffer.name, buffer.dtype, buffer.shape, pack.memory(tensor))
                    for buffer, (pack, tensor) in zip(manifest.buffers, located, strict=True)
                )
        finally:
            reader.close()
        return CheckpointPayload(manifest.checkpoint_id, manifest.tree, buffers, manifest.metadata)

    def verify(self, checkpoint_id: str, *, expected_digest: str | None = None, depth: str = "full") -> VerifyReport:
        """Check as `depth` says, in constant memory, and report.

        Raises ``CheckpointNotFoundError``, and ``StorageError`` where the device does not give the bytes.
        """
        for is_last in _ATTEMPTS:
            try:
                manifest = self._manifest(checkpoint_id, expected_digest)
            except IntegrityError as error:
                expected = error.expected or expected_digest or ""
                return VerifyReport(checkpoint_id, False, expected, error.actual, 0, (str(error),))
            report, is_missing = self._verify(manifest, depth)
            if is_last or not is_missing:
                break
            with contextlib.suppress(IntegrityError):
                self._manifest(checkpoint_id, None)  # raises where it was forgotten meanwhile
        return report

    def _verify(self, manifest: Manifest, depth: str) -> tuple[VerifyReport, bool]:
        """Return the report, and whether something was nowhere to be found."""
        nbytes, bad, is_missing = manifest.nbytes, list[str](), False
        reader = Reader(self._catalog, self._fs)
        try:
            with typed_read_errors(self._layout.root):
                located, bad, is_missing = locate(reader, manifest)
                if depth in READING:
                    wanted = distinct(located)
                    nbytes += sum(tensor.nbytes for _, tensor in wanted)
                    bad += [damage(pack.path, tensor.name, actual) for pack, tensor, actual in damaged(wanted, depth)]
        except IntegrityError as error:
            bad.append(str(error))
        finally:
            reader.close()
        actual = "" if bad else manifest.digest
        return VerifyReport(manifest.checkpoint_id, not bad, manifest.digest, actual, nbytes, tuple(bad)), is_missing

    def forget(self, checkpoint_id: str) -> int:
        """Move the manifest to trash and return the bytes that the next collection frees.

        Raises ``CheckpointNotFoundError``, ``StorageError``.
        """
        path = self._layout.manifest(checkpoint_id)
        with typed_errors("removing", path):
            self._check_format(write=True)
            with contextlib.suppress(OSError):  # learn what else needs its tensors; a full disk must not be in the way
                self._begin()
            self._layout.refuse_unknown(checkpoint_id)
            self._fs.make_dirs(self._layout.forgotten)
            nbytes = (self._fs.size(path) or 0) + self._catalog.index.freed_by(checkpoint_id)
            try:
                self._fs.rename(path, self._layout.new_forgotten(checkpoint_id))
            except FileNotFoundError:  # another process was faster
                raise self._layout.not_found(checkpoint_id) from None
            self._fs.sync_dir(self._layout.forgotten)  # first: a power cut leaves it in one of the two
            self._fs.sync_dir(path.parent)
        self._catalog.index.unuse(checkpoint_id)
        return nbytes

    def restore(self, checkpoint_id: str) -> None:
        """Take back a `forget`, as long as no collection has come in between.

        Raises ``CheckpointNotFoundError``, ``CheckpointExistsError``, ``IntegrityError``.
        """
        path = self._layout.manifest(checkpoint_id)
        with typed_errors("restoring", path):
            self._check_format(write=True)
            writer = self._begin()
            with self._intents.announced(writer):
                kept = self._layout.newest_forgotten(checkpoint_id)
                if kept is None:
                    raise self._layout.not_found(checkpoint_id)
                try:
                    raw = self._fs.read(kept, limit=MAX_NBYTES)
                except FileNotFoundError:  # a collection was faster
                    raise self._layout.not_found(checkpoint_id) from None
                wanted = contents(parse_manifest(raw, kept, checkpoint_id))
                self._catalog.reconcile()
                for sha256, nbytes in wanted:
                    if self._catalog.home(sha256, nbytes) is None:
                        raise self._layout.not_found(checkpoint_id)
                self._fs.sync_dir(self._layout.packs)  # a pack that is relied on may have its name since just now
                try:
                    publish_new(self._fs, kept, path)
                except FileNotFoundError:  # a collection was faster
                    raise self._layout.not_found(checkpoint_id) from None
                self._fs.unlink(kept)
        self._catalog.index.enter([], checkpoint_id, wanted)

    def add_mark(self, mark: Mark) -> None:
        """Keep a mark beside the manifest. Raises ``CheckpointNotFoundError``, ``StorageError``."""
        digest = self._manifest(mark.checkpoint_id, None).digest
        with typed_errors("marking", self._layout.manifest(mark.checkpoint_id)):
            self._check_format(write=True)
            self._marks.add(self._begin(), mark, digest)

    def marks(self) -> Iterator[Mark]:
        """Yield the marks of all stored checkpoints, the oldest first. Raises ``StorageError``."""
        digests: dict[str, str] = {}
        with typed_read_errors(self._layout.root):
            for mark, digest, _ in self._marks.read():
                if mark.checkpoint_id not in digests:
                    with contextlib.suppress(CheckpointNotFoundError, IntegrityError):
                        digests[mark.checkpoint_id] = self._manifest(mark.checkpoint_id, None).digest
                if digests.get(mark.checkpoint_id) == digest:
                    yield mark

    def collect(self) -> CollectReport:
        """Delete what no checkpoint needs; see `vault.collect`. Raises ``StorageError``."""
        with typed_errors("cleaning up", self._layout.root):
            self._check_format(gc=True)
            writer = self._begin()
            collector = Collector(self._layout, self._catalog, self._intents, self._packs, self._marks, self._fs)
            return collector.run(writer, self._workspace)

    def list_ids(self) -> Iterator[str]:
        """Yield the ids of all committed checkpoints. Raises ``StorageError``."""
        with typed_read_errors(self._layout.manifests):
            return iter(self._layout.ids())

    def describe(self, checkpoint_id: str) -> StoredCheckpoint:
        """Return what the manifest says. Raises ``CheckpointNotFoundError``, ``IntegrityError``, ``StorageError``."""
        return described(self._manifest(checkpoint_id, None))

    def holds(self, checkpoint_id: str) -> bool:
        """Say whether there is a manifest of that id. Raises ``StorageError``."""
        with typed_read_errors(self._layout.manifests):
            return self._layout.is_committed(checkpoint_id)

    def file_path(self, checkpoint_id: str) -> Path | None:
        """None: no file of the vault is one checkpoint. Raises ``CheckpointNotFoundError``."""
        with typed_read_errors(self._layout.manifests):
            self._layout.refuse_unknown(checkpoint_id)
        return None

    def close(self) -> None:
        """Release threads, files and this process's folder. Closing twice is allowed."""
        self._packs.close()
        self._catalog.close()
        self._workspace.close()

    def _begin(self) -> Writer:
        """Return the folder to write in; the first time, make the store's folders and learn what is there."""
        with self._beginning:
            writer, is_new = self._workspace.writer()
            try:
                if is_new:
                    self._layout.refuse_half_a_store()
                    self._layout.make_folders()
                    write_format(self._layout.root, self._fs, writer)
                    for leftover in self._workspace.dead_files():
                        self._fs.unlink(leftover)
                    self._intents.living(self._intents.present())
                    self._catalog.reconcile()
                    self._learn_uses()
            except BaseException:
                self._workspace.close()
                raise
            return writer

    def _learn_uses(self) -> None:
        index, present = self._catalog.index, set(self._layout.ids())
        known = index.users()
        for checkpoint_id in known - present:
            index.unuse(checkpoint_id)
        for checkpoint_id in present - known:
            with contextlib.suppress(StorageError, CheckpointNotFoundError):
                index.enter([], checkpoint_id, contents(self._manifest(checkpoint_id, None)))

    def _check_format(self, *, write: bool = False, gc: bool = False) -> None:
        wanted = (write or gc, gc)
        if wanted not in self._checked:
            check_format(self._layout.root, self._fs, write=write or gc, gc=gc)
            self._checked.add(wanted)

    def _store_tensors(
        self, writer: Writer, buffers: Sequence[Buffer], homes: Homes
    ) -> tuple[list[Identity], list[StoredFile]]:
        """Return the identity of every buffer, and the packs that were written for those that were new."""
        with self._remembering:
            remembered, expected = self._remembered, self._expected_new
        left, files, identities, new = dict(enumerate(buffers)), [], dict[int, Identity](), 0
        while left:
            temp = writer.path("pack")
            written = self._packs.write(temp, left, homes, remembered=remembered, expected_new=expected)
            identities |= written.identities
            left = {number: buffer for number, buffer in left.items() if number not in identities}
            expected = None
            if written.header is not None:
                new += len(written.header.tensors)
                files.append(self._publish_pack(temp, written.header, homes))
        # always: a pack that holds what was known already may have its name since just now, and not durably
        self._fs.sync_dir(self._layout.packs)
        with self._remembering:
            self._expected_new = new + new // 4 + 8
        return [identities[number] for number in range(len(buffers))], files

    def _publish_pack(self, temp: Path, header: PackHeader, homes: Homes) -> StoredFile:
        name = pack_name(header.digest)
        try:
            self._fs.rename(temp, self._layout.packs / name)
        except BaseException:
            with contextlib.suppress(OSError):
                self._fs.unlink(temp)
            raise
        homes.add(name, header)
        return StoredFile(f"packs/{name}", header.nbytes, header.digest)

    def _commit(self, writer: Writer, path: Path, content: bytes) -> None:
        temp = writer.path(path.name)
        try:
            write_temp(self._fs, temp, lambda file: file.write(memoryview(content)))
            publish_new(self._fs, temp, path)
        except CheckpointExistsError:
            self._layout.refuse_committed(path.stem)
            raise
        finally:
            with contextlib.suppress(OSError):
                self._fs.unlink(temp)

    def _remember(self, buffers: Sequence[Buffer], identities: Sequence[Identity]) -> None:
        with self._remembering:
            self._remembered = {buffer.name: each for buffer, each in zip(buffers, identities, strict=True)}

    def _manifest(self, checkpoint_id: str, expected_digest: str | None) -> Manifest:
        path = self._layout.manifest(checkpoint_id)
        with typed_read_errors(path):
            self._check_format()
            try:
                raw = self._fs.read(path, limit=MAX_NBYTES)
            except FileNotFoundError:
                raise self._layout.not_found(checkpoint_id) from None
        return parse_manifest(raw, path, checkpoint_id, expected_digest)


@contextlib.contextmanager
def _entered(catalog: Catalog, homes: Homes) -> Iterator[None]:
    """Let the index know of what was written, should the checkpoint come to nothing; else that is done later."""
    try:
        yield
    except BaseException:
        if homes.written:
            catalog.index.enter(homes.written)
        raise


_stores: weakref.WeakSet[VaultStore] = weakref.WeakSet()


def _start_anew() -> None:
    for store in list(_stores):
        store.inherit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
