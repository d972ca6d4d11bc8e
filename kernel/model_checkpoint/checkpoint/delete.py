"""Deletes a checkpoint: its files first, so that a deletion that broke off can be asked for again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from model_checkpoint.checkpoint.services import Operation, Services, path_or_none
from model_checkpoint.errors import CheckpointNotFoundError, ProtectedCheckpointError
from model_checkpoint.hooks import HookEvent

if TYPE_CHECKING:
    from model_checkpoint.contracts import CheckpointRecord


def delete(services: Services, record: CheckpointRecord, reason: str) -> int:
    """Delete a checkpoint and return the bytes freed. Raises ``OperationVetoed``, ``StorageError``.

    Raises ``ProtectedCheckpointError`` for one that is pinned or has an alias.
    """
    if record.pinned or record.aliases:
        reasons = ["it is pinned (take that back with unpin)"] if record.pinned else []
        reasons += [f"the alias {name!r} leads to it (alias({name!r}, None))" for name in record.aliases]
        raise ProtectedCheckpointError(f"checkpoint {record.id} was not deleted: {', and '.join(reasons)}")
    operation = Operation(services)
    operation.about(record)
    backend, freed = services.backends.open(record.backend), 0
    operation.fire(
        HookEvent.BEFORE_CHECKPOINT_DELETE,
        file_path=path_or_none(backend, record.id),
        reason=reason,
        nbytes=record.nbytes_written,
        referenced_by=(),
    )
    with contextlib.suppress(CheckpointNotFoundError):  # its files may be gone already
        freed = backend.forget(record.id)
    services.records.delete_checkpoint(record.id)
    operation.fire(HookEvent.AFTER_CHECKPOINT_DELETE, reason=reason, nbytes_freed=freed)
    return freed
