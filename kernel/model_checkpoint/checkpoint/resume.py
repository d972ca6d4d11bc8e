"""Goes on from the newest checkpoint of a run that verifies, and says aloud what was passed over."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from model_checkpoint.checkpoint.capture import refuse_unrestorable
from model_checkpoint.checkpoint.load import LoadRequest, load
from model_checkpoint.checkpoint.report import LoadReport, ResumeReport
from model_checkpoint.checkpoint.services import Operation, RunState, Services
from model_checkpoint.errors import IntegrityError, NothingToResumeError, StateMismatchError
from model_checkpoint.errors.base import bullet_list
from model_checkpoint.hooks import HookEvent

if TYPE_CHECKING:
    from model_checkpoint.contracts import CheckpointRecord


_ADVICE = (
    "resume() restores all or nothing. Give objects of the same make, or start another run with run='...' and load"
    " what fits into it with load(id, into={...}, strict=False)"
)


class ResumeFallbackWarning(UserWarning):
    """A newer checkpoint was damaged or incomplete and an older one was resumed."""


def resume(services: Services, run: RunState, objects: Mapping[str, object], *, verify: str = "fast") -> ResumeReport:
    """Restore `objects` and the random streams from the run's newest checkpoint that verifies.

    A checkpoint that lacks one of `objects` is incomplete and passed over like a damaged one. Returns a falsy report
    where the run has no checkpoint. Raises ``NothingToResumeError`` where it has some and none can be used: a training
    never silently starts over. Raises ``ConfigurationError`` for an object that could never be restored, at a fresh
    start too, and ``StateMismatchError`` for one of another make.
    """
    refuse_unrestorable(objects, services.adapters)
    candidates = services.records.list_checkpoints(run_id=run.record.id)
    request = LoadRequest(into=objects, verify=verify, with_rng=True, advice=_ADVICE)
    skipped: list[tuple[str, str]] = []
    incomplete = 0
    for record in candidates:
        try:
            report = load(services, run.record, [record], request)
        except IntegrityError as error:
            skipped.append((record.id, str(error)))
        except StateMismatchError as error:
            if len(error.absent) < len(error.problems):  # another model, not a gap: older ones are no better
                raise
            incomplete += 1
            skipped.append((record.id, "; ".join(why for _, why in error.problems)))
        else:
            return _resumed(services, run, record, report, objects, tuple(skipped))
    if candidates:
        remedies = []
        if incomplete:
            remedies.append(f"{incomplete} are whole and lack an object that resume() was given: leave that one out")
        if incomplete < len(candidates):
            remedies.append(f"{len(candidates) - incomplete} are damaged: restore their files from a copy")
        raise NothingToResumeError(
            f"run {run.record.name} has {len(candidates)} checkpoints and none of them can be resumed."
            f" {'; '.join(remedies)}; or start another run with run='...':"
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
    """The checkpoint's own epoch where the training's loader stands in the middle of it, else the next.

    That loader is the first one among the objects: one for validation may stand anywhere.
    """
    if record.epoch is None:
        return 0
    words = (word for name, obj in objects.items() for word in _loaders(obj, states.get(name)))
    return record.epoch if next(words, False) else record.epoch + 1


def _loaders(obj: object, state: object) -> Iterator[bool]:
    """Yield for every loader in an object, also in dicts and lists, whether it has handed out a part of an epoch."""
    if isinstance(obj, dict) and isinstance(state, dict):
        for key, inner in obj.items():
            yield from _loaders(inner, state.get(key))
    elif isinstance(obj, list) and isinstance(state, list):
        for inner, inner_state in zip(obj, state, strict=False):
            yield from _loaders(inner, inner_state)
    elif hasattr(obj, "mid_epoch"):
        yield obj.mid_epoch is True
    elif isinstance(state, dict) and "_iterator_finished" in state:  # as torchdata's loaders note it
        yield _is_begun(state)


def _is_begun(state: Mapping[str, object]) -> bool:
    if state.get("_iterator_finished") is not False:
        return False
    snapshot = state.get("_snapshot")
    step = snapshot.get("_snapshot_step", 0) if isinstance(snapshot, dict) else 0
    return bool(state.get("_num_yielded") or step or state.get("_steps_since_snapshot"))
