"""Verifies a stored checkpoint in full, without loading it into anything."""

from __future__ import annotations

from model_checkpoint.checkpoint.services import Operation, Services, mark_damaged, path_or_none, refuse_empty
from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.contracts import CheckpointRecord, VerifyReport
from model_checkpoint.errors import CheckpointNotFoundError
from model_checkpoint.hooks import HookEvent


def verify(
    services: Services, record: CheckpointRecord, depth: str = "full", *, gone_is_damage: bool = True
) -> VerifyReport:
    """Check a checkpoint as deep as asked and return what was found; remember damage, and clear an outdated mark.

    Fires before and after_integrity_check, and on_integrity_failure for damage. Raises ``OperationVetoed``, and
    ``CheckpointNotFoundError`` for one that was deleted meanwhile; without `gone_is_damage` also for one that is
    recorded and not stored, as it is for a moment while it is deleted.
    """
    operation = Operation(services)
    operation.about(record)
    backend = services.backends.open(record.backend)
    path = path_or_none(backend, record.id)
    operation.fire(HookEvent.BEFORE_INTEGRITY_CHECK, file_path=path, algorithm="sha256", depth=depth)
    watch = Stopwatch()
    try:
        report = backend.verify(record.id, expected_digest=record.digest or None, depth=depth)
    except CheckpointNotFoundError as error:
        if not gone_is_damage or services.records.get_checkpoint(record.id) is None:
            raise
        refuse_empty(backend, record)
        report = VerifyReport(record.id, False, record.digest, "", 0, (str(error),))
    operation.fire(
        HookEvent.AFTER_INTEGRITY_CHECK,
        ok=report.ok,
        expected=report.expected,
        actual=report.actual,
        nbytes_read=report.nbytes_read,
        duration_s=watch.elapsed_s,
    )
    if not report.ok:
        mark_damaged(services, record.id, "; ".join(report.bad_parts) or "does not verify")
        operation.fire(
            HookEvent.ON_INTEGRITY_FAILURE,
            file_path=path,
            expected=report.expected,
            actual=report.actual,
            bad_parts=report.bad_parts,
            action="mark",
        )
    elif record.damage and backend.capabilities.checked(depth) in ("fast", "full"):  # every byte was read
        mark_damaged(services, record.id, "")
    return report
