"""Bytes and rows: what is damaged, missing, full, locked or too new."""

from __future__ import annotations

from model_checkpoint.errors.base import CheckpointEngineError


class StorageError(CheckpointEngineError, OSError):
    """Stored bytes could not be written or read."""

    def __str__(self) -> str:  # OSError's own rendering of two arguments would hide the sentence
        return str(self.args[0]) if self.args else ""


class IntegrityError(StorageError):
    """Stored bytes are not the bytes that were written.

    Attributes: ``path`` (the file), ``expected`` and ``actual`` (hex digests or sizes, where known).
    """

    def __init__(self, message: str, *, path: str = "", expected: str = "", actual: str = "") -> None:
        self.path, self.expected, self.actual = path, expected, actual
        super().__init__(message)


class MissingFileError(IntegrityError, FileNotFoundError):
    """A file that a checkpoint needs is gone."""


class StorageFullError(StorageError):
    """No space or no quota is left; what was being written was removed again."""


class TornSnapshotError(StorageError):
    """The state changed while it was being saved; nothing of it was stored."""


class StorageReadOnlyError(StorageError, PermissionError):
    """The directory cannot be written."""


class RecordStoreError(CheckpointEngineError):
    """The record store could not do what was asked."""


class RecordStoreBusyError(RecordStoreError, TimeoutError):
    """Other processes kept the record store locked for longer than the busy timeout."""


class RecordStoreDamagedError(RecordStoreError):
    """The record store itself is damaged."""


class SchemaVersionError(RecordStoreError):
    """The record store was written by a newer version of the engine."""


class StaleGenerationError(RecordStoreError):
    """Someone committed a checkpoint to this run in between: rank again and retry."""


class QuerySyntaxError(RecordStoreError, ValueError):
    """A query that cannot be read. ``position`` is the offset in characters where it went wrong."""

    def __init__(self, message: str, position: int) -> None:
        self.position = position
        super().__init__(message)
