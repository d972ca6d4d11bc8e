"""Checkpoints as files: one data file that other tools open, and one manifest that commits to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from model_checkpoint.common.digest import HashingWriter, sha256_hex
from model_checkpoint.common.fsops import FsOps, FullWriter, typed_errors, typed_read_errors, write_temp
from model_checkpoint.common.ids import checked_name
from model_checkpoint.contracts import (
    Buffer,
    CheckpointPayload,
    CollectReport,
    StorageCapabilities,
    StoredCheckpoint,
    StoredFile,
    VerifyReport,
    WriteReceipt,
)
from model_checkpoint.errors import IntegrityError, MissingFileError
from model_checkpoint.storage.data_file import check_data, read_data
from model_checkpoint.storage.layout import Layout
from model_checkpoint.storage.manifest import (
    MAX_NBYTES,
    Manifest,
    Place,
    StoredBuffer,
    compose,
    described,
    parse,
    state_text,
)
from model_checkpoint.storage.publishing import Publisher


class FileFormat(Protocol):
    """How the tensors of one checkpoint become one file."""

    @property
    def name(self) -> str:
        """The name of the backend."""

    @property
    def suffix(self) -> str:
        """What its files end in, with the dot."""

    def write(self, payload: CheckpointPayload, out: HashingWriter) -> Sequence[Place]:
        """Write the file and return where each buffer went, in the order of the payload."""

    def read(self, data: bytearray, buffers: Sequence[StoredBuffer], path: Path) -> Sequence[memoryview]:
        """Return the bytes of each buffer, writable. `data` is what was written. Raises ``IntegrityError``."""


class FileStore:
    """A storage backend that keeps its promises with any `FileFormat`. Safe to use from threads and processes."""

    def __init__(self, format: FileFormat, root: Path, fs: FsOps) -> None:
        self._format, self._fs = format, fs
        self._layout = Layout(root, format.suffix, fs)
        self._publisher = Publisher(self._layout, fs)

    @property
    def name(self) -> str:
        """The format's name."""
        return self._format.name

    @property
    def capabilities(self) -> StorageCapabilities:
        """Durable, and every checkpoint has a file for other tools."""
        return StorageCapabilities(durable=True, file_suffix=self._format.suffix)

    def write(self, payload: CheckpointPayload) -> WriteReceipt:
        """Store `payload` durably, or raise and leave nothing of it.

        Raises ``CheckpointExistsError``, ``InvalidNameError``, ``UnstorableStateError``, ``StorageError``.
        """
        checkpoint_id = checked_name(payload.checkpoint_id, "a checkpoint")
        state = state_text(payload)  # refuses what it must before anything is written
        path, target = self._layout.manifest(checkpoint_id), self._layout.data(checkpoint_id)
        with typed_errors("writing", target):
            self._layout.refuse_committed(checkpoint_id)
            writer = self._publisher.begin()
            temp = writer.path(target.name)
            try:
                data, places = write_temp(self._fs, temp, lambda file: self._fill(payload, target, file))
                content, digest = compose(payload, state, StoredFile(target.name, data.nbytes, data.sha256), places)
                self._publisher.publish(writer, checkpoint_id, temp, content)
            except BaseException:
                self._publisher.discard(temp, checkpoint_id)
                raise
            with contextlib.suppress(OSError):  # committed; should the second name stay, a sweeper removes it
                self._fs.unlink(temp)
        manifest = StoredFile(self._layout.relative(path), len(content), sha256_hex(content))
        nbytes_written = data.nbytes + manifest.nbytes
        return WriteReceipt(checkpoint_id, digest, payload.nbytes, nbytes_written, (data, manifest))

    def read(self, checkpoint_id: str, *, expected_digest: str | None = None, depth: str = "full") -> CheckpointPayload:
        """Return the checkpoint, every byte verified at any depth.

        Raises ``CheckpointNotFoundError``, ``IntegrityError``, ``StorageError``.
        """
        try:
            return self._read(checkpoint_id, expected_digest)
        except IntegrityError:
            pass
        with self._layout.undisturbed(checkpoint_id):
            return self._read(checkpoint_id, expected_digest)

    def verify(self, checkpoint_id: str, *, expected_digest: str | None = None, depth: str = "full") -> VerifyReport:
        """Read everything at any depth, in constant memory, and report. Raises only ``CheckpointNotFoundError``."""
        report = self._verify(checkpoint_id, expected_digest)
        if report.ok:
            return report
        with self._layout.undisturbed(checkpoint_id):
            return self._verify(checkpoint_id, expected_digest)

    def describe(self, checkpoint_id: str) -> StoredCheckpoint:
        """Return what the manifest says. Raises ``CheckpointNotFoundError``, ``IntegrityError``, ``StorageError``."""
        return described(self._manifest(checkpoint_id, None))

    def holds(self, checkpoint_id: str) -> bool:
        """Say whether there is a manifest of that id. Raises ``StorageError``."""
        with typed_read_errors(self._layout.manifest_folder):
            return self._layout.is_committed(checkpoint_id)

    def forget(self, checkpoint_id: str) -> int:
        """Remove the checkpoint and return the bytes freed. Raises ``CheckpointNotFoundError``, ``StorageError``."""
        with typed_errors("removing", self._layout.manifest(checkpoint_id)):
            self._layout.refuse_unknown(checkpoint_id)
            return self._publisher.remove(self._publisher.begin(), checkpoint_id)

    def collect(self) -> CollectReport:
        """Remove what writers left that live no more. Raises ``StorageError``."""
        with typed_errors("cleaning up", self._layout.workspace.root):
            return self._publisher.sweep()

    def list_ids(self) -> Iterator[str]:
        """Yield the ids of all committed checkpoints. Raises ``StorageError``."""
        folder = self._layout.manifest_folder
        with typed_read_errors(folder):
            names = self._fs.list_dir(folder)
        return self._layout.ids_of_manifests(names)

    def file_path(self, checkpoint_id: str) -> Path | None:
        """Return the data file. Raises ``CheckpointNotFoundError``, ``StorageError``."""
        target = self._layout.data(checkpoint_id)
        with typed_read_errors(target):
            if not self._layout.is_committed(checkpoint_id):
                with self._layout.undisturbed(checkpoint_id):
                    self._layout.refuse_unknown(checkpoint_id)
        return target

    def close(self) -> None:
        """Remove this process's folder under ``tmp/``. Closing twice is allowed."""
        self._layout.workspace.close()

    def _fill(self, payload: CheckpointPayload, target: Path, file: FullWriter) -> tuple[StoredFile, Sequence[Place]]:
        out = HashingWriter(file)
        places = self._format.write(payload, out)
        return StoredFile(self._layout.relative(target), out.nbytes, out.hexdigest), places

    def _read(self, checkpoint_id: str, expected_digest: str | None) -> CheckpointPayload:
        manifest, target = self._manifest(checkpoint_id, expected_digest), self._layout.data(checkpoint_id)
        with typed_read_errors(target):
            data = read_data(self._fs, target, _data_of(manifest))
            views = self._format.read(data, manifest.buffers, target)
        stored = zip(manifest.buffers, views, strict=True)
        buffers = tuple(Buffer(entry.name, entry.dtype, entry.shape, view) for entry, view in stored)
        return CheckpointPayload(checkpoint_id, manifest.tree, buffers, manifest.metadata)

    def _verify(self, checkpoint_id: str, expected_digest: str | None) -> VerifyReport:
        nbytes = 0
        try:
            manifest, target = self._manifest(checkpoint_id, expected_digest), self._layout.data(checkpoint_id)
            nbytes = manifest.nbytes
            with typed_read_errors(target):
                nbytes += check_data(self._fs, target, _data_of(manifest))
        except IntegrityError as error:
            found = (error.expected or expected_digest or "", error.actual, nbytes, (str(error),))
            return VerifyReport(checkpoint_id, False, *found)
        return VerifyReport(checkpoint_id, True, manifest.digest, manifest.digest, nbytes)

    def _manifest(self, checkpoint_id: str, expected_digest: str | None) -> Manifest:
        path, target = self._layout.manifest(checkpoint_id), self._layout.data(checkpoint_id)
        with typed_read_errors(path):
            try:
                raw = self._fs.read(path, limit=MAX_NBYTES)
            except FileNotFoundError:
                self._layout.refuse_unknown(checkpoint_id)
                raise MissingFileError(
                    f"{path} is gone, and without it nobody can tell whether its data file is what was written. Put the"
                    " file back from a copy, or load another checkpoint",
                    path=str(path),
                ) from None
        manifest = parse(raw, path, checkpoint_id, expected_digest)
        if (name := _data_of(manifest).name) != target.name:
            raise IntegrityError(f"{path} names another data file: {name[:200]!r}", path=str(path))
        return manifest


def _data_of(manifest: Manifest) -> StoredFile:
    if manifest.data is None:
        raise IntegrityError(f"the manifest of {manifest.checkpoint_id} names no data file: it belongs to a vault")
    return manifest.data
