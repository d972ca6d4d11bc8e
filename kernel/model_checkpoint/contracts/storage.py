"""The contract of a storage backend: how the bytes of a checkpoint are written, read back, verified and forgotten.

A backend keeps whole checkpoints under their id. It knows nothing of runs, metrics or ranking.

The rules, numbered as ``model_checkpoint.testing.StorageBackendTests`` tests them:

1.  ``read`` returns what ``write`` was given: the same tree (order of keys included), the same metadata, and for every
    buffer the same name, dtype, shape and bytes.
2.  ``write`` returns only after the checkpoint is durable where ``capabilities.durable`` says so: another process that
    opens the same directory at once reads it.
3.  An id is written once: a second ``write`` raises ``CheckpointExistsError`` and changes nothing.
4.  A ``write`` that fails leaves nothing visible: the id is absent from ``list_ids``, ``read`` raises
    ``CheckpointNotFoundError``, and every earlier checkpoint still reads.
5.  ``read`` never returns a wrong byte: data, structure and metadata are all covered by SHA-256, and a mismatch raises
    ``IntegrityError`` naming the file. The digest in ``WriteReceipt`` commits to all of it; a ``read`` whose
    ``expected_digest`` differs from it raises ``IntegrityError`` too.
6.  An unknown id raises ``CheckpointNotFoundError`` from ``read`` and ``forget``; a known one whose file is gone
    raises ``MissingFileError``, naming the file. (Where a checkpoint exists by one of its files, that one's loss makes
    its id unknown.)
7.  ``verify`` reads everything and reports; damage makes ``ok`` false and names the parts, it does not raise.
8.  ``forget`` makes the id unknown at once and returns the bytes that this frees, now or with the next ``collect``;
    other checkpoints are untouched.
9.  Ids and buffer names are data: ``../x``, ``a/b``, NUL or 10,000 characters never reach outside the root. An id that
    the backend cannot keep raises ``InvalidNameError``; a buffer name is kept as it is, whatever it is.
10. Reading returns buffers that do not change when the checkpoint is forgotten afterwards, and that may be written to
    without changing what is stored.
11. All methods may be called from several threads and processes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts.state import JSON, CheckpointPayload

DEPTHS = ("stat", "header", "fast", "full")
"""How deep a check goes: the files are there; structure and metadata are right; every byte has its fast digest; every
byte has its SHA-256. Each includes those before it."""


@dataclass(frozen=True, slots=True)
class StorageCapabilities:
    """What a backend can do, as data."""

    durable: bool
    """A checkpoint survives the process, and a power cut, once ``write`` returned."""
    file_suffix: str | None
    """Suffix of the one file that other tools open (``.pt``, ``.safetensors``), or None where there is none."""
    can_undo: bool = False
    """``restore(id)`` takes back a ``forget`` until the next ``collect``."""
    keeps_marks: bool = False
    """It is a ``MarkKeeper`` too."""
    depths: tuple[str, ...] = ("full",)
    """Those of `DEPTHS` that it tells apart. Asked for another one, it checks the next deeper one that it has."""

    def checked(self, depth: str) -> str:
        """Return how deep the check really goes where `depth` is asked for."""
        return next(own for own in (*DEPTHS[DEPTHS.index(depth) :], "full") if own in (*self.depths, "full"))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a checkpoint as it was written."""

    name: str
    """Relative to the backend's root."""
    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WriteReceipt:
    """What ``write`` made durable."""

    checkpoint_id: str
    digest: str
    """SHA-256 in hex that commits to structure, metadata and every data byte."""
    nbytes: int
    """Bytes of the tensors."""
    nbytes_written: int
    """Bytes that went to storage, structure included."""
    files: tuple[StoredFile, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """What is known of a stored checkpoint without reading its tensors."""

    checkpoint_id: str
    digest: str
    """As its `WriteReceipt` gave it."""
    nbytes: int
    """Bytes of its tensors."""
    metadata: Mapping[str, JSON]
    tensors: Mapping[str, str] = field(default_factory=dict)
    """By name, something equal for equal content: a digest. Empty where the backend knows none."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The outcome of reading a checkpoint in full."""

    checkpoint_id: str
    ok: bool
    expected: str
    """Digest that the evidence asks for, in hex; empty where the evidence itself is gone."""
    actual: str
    """Digest of what is there now, in hex; empty where it could not be read."""
    nbytes_read: int
    bad_parts: tuple[str, ...] = ()
    """Files or tensors that are damaged, each with what is wrong."""


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a collection removed."""

    removed: tuple[str, ...]
    nbytes_freed: int
    skipped: str = ""
    """Why not everything was done that could be: in words, or empty."""


class StorageBackend(Protocol):
    """Keeps checkpoints under their ids. The module's docstring lists the rules."""

    @property
    def name(self) -> str:
        """The name users choose it by."""

    @property
    def capabilities(self) -> StorageCapabilities:
        """What it can do."""

    def write(self, payload: CheckpointPayload) -> WriteReceipt:
        """Store `payload` durably. Raises ``CheckpointExistsError``, ``StorageError`` or a subclass."""

    def read(self, checkpoint_id: str, *, expected_digest: str | None = None, depth: str = "full") -> CheckpointPayload:
        """Return the checkpoint, checked at least as `depth` says: see `DEPTHS`.

        Raises ``CheckpointNotFoundError`` or ``IntegrityError``.
        """

    def verify(self, checkpoint_id: str, *, expected_digest: str | None = None, depth: str = "full") -> VerifyReport:
        """Check and report. Raises ``CheckpointNotFoundError`` for an id that was never written.

        Raises ``StorageError``, which is no ``IntegrityError``, where the bytes cannot be had: that is no damage.
        """

    def describe(self, checkpoint_id: str) -> StoredCheckpoint:
        """Return what is known without reading tensors. Raises ``CheckpointNotFoundError``, ``IntegrityError``."""

    def holds(self, checkpoint_id: str) -> bool:
        """Say whether the id is that of a committed checkpoint."""

    def forget(self, checkpoint_id: str) -> int:
        """Remove the checkpoint and return the bytes that this frees. Raises ``CheckpointNotFoundError``."""

    def collect(self) -> CollectReport:
        """Remove what no checkpoint needs: leftovers of writers that died."""

    def list_ids(self) -> Iterator[str]:
        """Yield the ids of all committed checkpoints, in no particular order."""

    def file_path(self, checkpoint_id: str) -> Path | None:
        """Return the file that other tools open, or None. Raises ``CheckpointNotFoundError``."""

    def close(self) -> None:
        """Release what the backend holds. Closing twice is allowed."""


class CanUndo(Protocol):
    """What a storage backend with ``capabilities.can_undo`` does besides."""

    def restore(self, checkpoint_id: str) -> None:
        """Take back a ``forget``. Raises ``CheckpointNotFoundError`` where it is none, or a ``collect`` came since."""


@dataclass(frozen=True, slots=True)
class StorageBackendDescriptor:
    """What ``register_storage_backends`` returns for each backend."""

    name: str
    open: Callable[[Path, FsOps], StorageBackend]
    """Called with the backend's own directory, which may not exist yet, and the object that every file-system call
    must go through."""
    summary: str = ""
