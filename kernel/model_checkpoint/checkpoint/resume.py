"""Goes on from the newest checkpoint of a run that verifies, and says aloud what was passed over."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from model_checkpoint.checkpoint.load import LoadRequest, load
from model_checkpoint.checkpoint.report import LoadReport, ResumeReport
from model_checkpoint.checkpoint.services import Operation, RunState, Services
from model_checkpoint.errors import IntegrityError, NothingToResumeError, StateMismatchError
from model_checkpoint.errors.base import bullet_list
from model_checkpoint.hooks import HookEvent

if TYPE_CHECKING:
    from model_checkpoint.contracts import CheckpointRecord


class ResumeFallbackWarning(UserWarning):
    """A newer checkpoint was damaged or incomplete and an older one was resumed."""


def resume(services: Services, run: RunState, objects: Mapping[str, object]) -> ResumeReport:
    """Restore `objects` and the random streams from the run's newest checkpoint that verifies.

    A checkpoint that lacks one of `objects` is incomplete and passed over like a damaged one. Returns a falsy report
    where the run has no checkpoint. Raises ``NothingToResumeError`` where it has some and none can be used: a training
    never silently starts over.
    """
    candidates = services.records.list_checkpoints(run_id=run.record.id)
    skipped: list[tuple[str, str]] = []
    incomplete: StateMismatchError | None = None
    for record in candidates:
        try:
            report = load(services, run.record, [record], LoadRequest(into=objects, with_rng=True))
        except IntegrityError as error:
            skipped.append((record.id, str(error)))
        except StateMismatchError as error:
            if not any(path in objects for path, _ in error.problems):  # the keys differ: another model, not a gap
                raise
            incomplete = incomplete or error
            skipped.append((record.id, "; ".join(why for path, why in error.problems if path in objects)))
        else:
            return _resumed(services, run, record, report, objects, tuple(skipped))
    if candidates:
        if incomplete is not None and len(candidates) == 1:
            raise incomplete
        raise NothingToResumeError(
            f"run {run.record.name} has {len(candidates)} checkpoints and none of them can be resumed. Restore the"
            " files from a copy, or start another run with run='...':"
            f"{bullet_list(f'{i}: {why}' for i, why in skipped)}"
        )
    return ResumeReport(run.record.name)


def _resumed(
    services: Services,
    run: RunState,
    record: CheckpointRecord,
    report: LoadReport,
    objects: Mapping[str, object],
    skipped: tuple[tuple[str, str], ...],
) -> ResumeReport:
    run.parent_id = record.id
    run.take_pending()  # it belongs to what was training until now
    result = ResumeReport(
        run_name=run.record.name,
        checkpoint_id=record.id,
        epoch=record.epoch,
        step=record.step or 0,
        next_epoch=_next_epoch(record, objects, report),
        metrics=dict(record.metrics),
        skipped=skipped,
        load=report,
    )
    if skipped:
        warnings.warn(
            f"resuming {run.record.name} from the older checkpoint {record.id}; passed over:"
            f"{bullet_list(f'{i}: {why}' for i, why in skipped)}",
            ResumeFallbackWarning,
            stacklevel=2,
        )
    operation = Operation(services, run.record)
    operation.about(record.id)
    operation.fire(HookEvent.ON_RESUME, step=record.step, epoch=record.epoch, skipped=skipped, fell_back=bool(skipped))
    return result


def _next_epoch(record: CheckpointRecord, objects: Mapping[str, object], states: Mapping[str, object]) -> int:
    """The checkpoint's own epoch where a restored loader stands in the middle of it, else the next."""
    if record.epoch is None:
        return 0
    middle = any(_in_the_middle(obj, states.get(name)) for name, obj in objects.items())
    return record.epoch if middle else record.epoch + 1


def _in_the_middle(obj: object, state: object) -> bool:
    """Say whether a loader has handed out a part of an epoch: by its own word, or as torchdata's loaders note it."""
    if hasattr(obj, "mid_epoch"):
        return obj.mid_epoch is True
    if not isinstance(state, dict) or state.get("_iterator_finished") is not False:
        return False
    snapshot = state.get("_snapshot")
    step = snapshot.get("_snapshot_step", 0) if isinstance(snapshot, dict) else 0
    return bool(state.get("_num_yielded") or step or state.get("_steps_since_snapshot"))
