"""Gives a checkpoint as a file that other tools open, writing one under ``exports/`` where the backend has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    ConfigurationError,
    IntegrityError,
)

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.services import Services
    from model_checkpoint.config import KernelConfig
    from model_checkpoint.contracts import JSON, CheckpointRecord, StorageBackend
    from model_checkpoint.kernel.backends import BackendSet

SUFFIXES = {"pt": ".pt", "pth": ".pt", "pytorch": ".pt", "safetensors": ".safetensors"}
DEFAULT_FORMAT = "safetensors"
SOURCE = "exported_from"
"""The entry of an export's metadata that says which stored bytes it was made of."""


def checkpoint_file(
    services: Services, backends: BackendSet, config: KernelConfig, record: CheckpointRecord, format: str | None
) -> Path:
    """Return the file. `format` is ``pt`` (``torch.load(weights_only=True)`` opens it), ``safetensors``, or None for
    what the backend itself keeps. Raises ``ConfigurationError``, ``IntegrityError``, ``CheckpointNotFoundError``."""
    if format is not None and (not isinstance(format, str) or format.lstrip(".") not in SUFFIXES):
        raise ConfigurationError(f"format={format!r} is not known: use 'pt' or 'safetensors'")
    if record.damage:
        raise IntegrityError(
            f"checkpoint {record.id} is marked as damaged, so its file is not given out: {record.damage}. Restore the"
            " file from a copy, and verify_checkpoint() clears the mark"
        )
    backend = services.backends.open(record.backend)
    wanted = SUFFIXES[format.lstrip(".")] if format else backend.capabilities.file_suffix
    if wanted is not None and wanted == backend.capabilities.file_suffix:
        path = backend.file_path(record.id)
        if path is not None:
            return path
    writer = backends.by_suffix(wanted or SUFFIXES[DEFAULT_FORMAT])
    if writer is None:
        raise ConfigurationError(f"no storage backend writes {wanted or DEFAULT_FORMAT} files: is its plugin enabled?")
    exports = backends.open_elsewhere(writer, config.storage.checkpoint_dir / "exports" / writer)
    try:
        source: dict[str, JSON] = {"backend": record.backend, "digest": record.digest}
        if not _is_current(exports, record.id, source):
            payload = backend.read(record.id, expected_digest=record.digest or None)
            payload = replace(payload, metadata={**payload.metadata, SOURCE: source})
            try:
                exports.write(payload)
            except CheckpointExistsError:
                if not _is_current(exports, record.id, source):  # else another process was faster with the same
                    exports.forget(record.id)
                    exports.write(payload)
        path = exports.file_path(record.id)
    finally:
        exports.close()
    assert path is not None
    return path


def _is_current(exports: StorageBackend, checkpoint_id: str, source: JSON) -> bool:
    """Say whether the export is whole and of this checkpoint: ids return when a run is deleted and made again."""
    try:
        return exports.read(checkpoint_id).metadata.get(SOURCE) == source
    except (CheckpointNotFoundError, IntegrityError):
        return False
