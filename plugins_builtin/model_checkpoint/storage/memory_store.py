"""Checkpoints in memory, for tests and short scripts: the same promises as files, as long as the object lives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_checkpoint.common.digest import sha256_hex
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
from model_checkpoint.errors import CheckpointExistsError, CheckpointNotFoundError, IntegrityError
from model_checkpoint.storage.manifest import compose, described, parse, state_text


@dataclass(frozen=True, slots=True)
class _Stored:
    manifest: bytes
    data: tuple[bytes, ...]

    @property
    def nbytes(self) -> int:
        return len(self.manifest) + sum(map(len, self.data))


class MemoryStore:
    """Keeps copies of what it is given, and gives out copies of what it keeps."""

    name = "memory"
    capabilities = StorageCapabilities(durable=False, file_suffix=None)

    def __init__(self) -> None:
        self._stored: dict[str, _Stored] = {}
        self._lock = threading.Lock()

    def write(self, payload: CheckpointPayload) -> WriteReceipt:
        """Copy `payload`. Raises ``CheckpointExistsError``, ``InvalidNameError``, ``UnstorableStateError``."""
        checkpoint_id = checked_name(payload.checkpoint_id, "a checkpoint")
        state = state_text(payload)
        data = tuple(bytes(buffer.data) for buffer in payload.buffers)
        places = [{"sha256": sha256_hex(content)} for content in data]
        nothing = StoredFile("", payload.nbytes, "")
        manifest, digest = compose(payload, state, nothing, places)
        stored = _Stored(manifest, data)
        with self._lock:
            if checkpoint_id in self._stored:
                raise CheckpointExistsError(
                    f"checkpoint {checkpoint_id} exists already in memory, and a stored checkpoint is never overwritten"
                )
            self._stored[checkpoint_id] = stored
        return WriteReceipt(checkpoint_id, digest, payload.nbytes, stored.nbytes)

    def read(self, checkpoint_id: str, *, expected_digest: str | None = None, depth: str = "full") -> CheckpointPayload:
        """Return a copy, verified. Raises ``CheckpointNotFoundError``, ``IntegrityError``."""
        stored = self._get(checkpoint_id)
        manifest = parse(stored.manifest, Path("memory", checkpoint_id), checkpoint_id, expected_digest)
        buffers = []
        for entry, content in zip(manifest.buffers, stored.data, strict=True):
            expected, actual = str(entry.place["sha256"]), sha256_hex(content)
            if actual != expected:
                what = f"the bytes of {entry.name[:200]!r} in {checkpoint_id} changed in memory"
                raise IntegrityError(what, path=f"memory/{checkpoint_id}", expected=expected, actual=actual)
            buffers.append(Buffer(entry.name, entry.dtype, entry.shape, memoryview(bytearray(content))))
        return CheckpointPayload(checkpoint_id, manifest.tree, tuple(buffers), manifest.metadata)

    def verify(self, checkpoint_id: str, *, expected_digest: str | None = None, depth: str = "full") -> VerifyReport:
        """Compute every digest again and report. Raises only ``CheckpointNotFoundError``."""
        stored = self._get(checkpoint_id)
        try:
            self.read(checkpoint_id, expected_digest=expected_digest)
        except IntegrityError as error:
            return VerifyReport(checkpoint_id, False, error.expected, error.actual, stored.nbytes, (str(error),))
        digest = stored.manifest.splitlines()[-1].decode("ascii")
        return VerifyReport(checkpoint_id, True, digest, digest, stored.nbytes)

    def describe(self, checkpoint_id: str) -> StoredCheckpoint:
        """Return what the manifest says. Raises ``CheckpointNotFoundError``, ``IntegrityError``."""
        stored = self._get(checkpoint_id)
        return described(parse(stored.manifest, Path("memory", checkpoint_id), checkpoint_id, None))

    def holds(self, checkpoint_id: str) -> bool:
        """Say whether it is kept."""
        return checkpoint_id in self._stored

    def forget(self, checkpoint_id: str) -> int:
        """Drop the checkpoint and return the bytes freed. Raises ``CheckpointNotFoundError``."""
        with self._lock:
            stored = self._stored.pop(checkpoint_id, None)
        if stored is None:
            raise self._not_found(checkpoint_id)
        return stored.nbytes

    def collect(self) -> CollectReport:
        """Do nothing: nobody leaves anything here."""
        return CollectReport((), 0)

    def list_ids(self) -> Iterator[str]:
        """Yield all ids."""
        return iter([*self._stored])

    def file_path(self, checkpoint_id: str) -> Path | None:
        """Return None: there is no file. Raises ``CheckpointNotFoundError``."""
        self._get(checkpoint_id)
        return None

    def close(self) -> None:
        """Do nothing: what is kept lives as long as this object."""

    def _get(self, checkpoint_id: str) -> _Stored:
        stored = self._stored.get(checkpoint_id)
        if stored is None:
            raise self._not_found(checkpoint_id)
        return stored

    @staticmethod
    def _not_found(checkpoint_id: str) -> CheckpointNotFoundError:
        return CheckpointNotFoundError(f"there is no checkpoint {checkpoint_id[:200]!r} in memory")
