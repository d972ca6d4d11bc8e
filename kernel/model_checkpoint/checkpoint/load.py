"""The pipeline of a load: everything is verified and checked before the first live byte changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model_checkpoint.checkpoint.capture import OBJECTS, RNG, check, restore_into
from model_checkpoint.checkpoint.report import LoadReport
from model_checkpoint.checkpoint.rng import check_rng, restore_rng
from model_checkpoint.checkpoint.services import Operation, Services, mark_damaged, path_or_none, refuse_empty
from model_checkpoint.checkpoint.tree import unflatten
from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.contracts import (
    DEPTHS,
    CheckpointPayload,
    CheckpointRecord,
    Mismatches,
    RunRecord,
    StorageBackend,
)
from model_checkpoint.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    IntegrityError,
    MissingFileError,
    OperationVetoed,
    PartialRestoreError,
    StateMismatchError,
)
from model_checkpoint.hooks import HookEvent

STRICTNESS = {True: "error", False: "report", "error": "error", "report": "report", "ignore": "ignore"}


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What the caller wants loaded, and into what."""

    into: Mapping[str, object]
    strict: bool | str = True
    """``"error"`` (True): a mismatch raises. ``"report"`` (False): what fits is restored. ``"ignore"``: silently."""
    verify: str = "fast"
    """How deep the bytes are checked before anything is given out: see ``contracts.DEPTHS``."""
    with_rng: bool = False
    advice: str = "Pass strict=False to restore what fits"
    """What the caller can do where the state does not fit."""


def load_latest(
    services: Services, run: RunRecord | None, newest: CheckpointRecord, request: LoadRequest
) -> LoadReport:
    """Load `newest`, the newest undamaged one, or the newest older one of its run that verifies."""
    known = services.records.list_checkpoints(run_id=newest.run_id)
    newer = list(itertools.takewhile(lambda record: record.id != newest.id, known))
    older = [record for record in known[len(newer) + 1 :] if not record.damage]
    damaged = [record.id for record in newer if record.damage]
    return load(services, run, [newest, *older], request, passed=damaged)


def load(
    services: Services,
    run: RunRecord | None,
    candidates: Sequence[CheckpointRecord],
    request: LoadRequest,
    *,
    passed: Iterable[str] = (),
) -> LoadReport:
    """Load the first of `candidates` that verifies and return how it went; more than one allows falling back.

    `passed` are newer ones that are known to be damaged and were passed over. Raises ``IntegrityError`` when the last
    one is damaged, ``StateMismatchError`` before anything was changed, ``PartialRestoreError`` where a restore broke
    off.
    """
    checked_depth(request.verify)
    if request.strict not in STRICTNESS:
        raise ConfigurationError(
            f"strict={request.strict!r} is not known: use True, False, 'error', 'report' or 'ignore'"
        )
    queue, passed_over = list(candidates), list(passed)
    while True:
        record = queue.pop(0)
        operation = Operation(services, run)
        operation.about(record)
        try:
            return _load_one(services, operation, record, request, tuple(passed_over))
        except OperationVetoed:
            raise
        except BaseException as error:
            passed_over.append(record.id)
            fallback = _tell_failure(services, operation, record, error, queue, passed_over)
            if fallback is None or not isinstance(error, IntegrityError):
                raise
            queue = [fallback, *(other for other in queue if other.id != fallback.id)]


def _tell_failure(
    services: Services,
    operation: Operation,
    record: CheckpointRecord,
    error: BaseException,
    queue: Sequence[CheckpointRecord],
    passed: Sequence[str],
) -> CheckpointRecord | None:
    """Fire the error events; return what to load instead: a hook's choice not tried yet, else the next candidate."""
    path = getattr(error, "path", "") or None
    if isinstance(error, IntegrityError):
        mark_damaged(services, record.id, str(error))
        operation.fire(
            HookEvent.ON_INTEGRITY_FAILURE,
            file_path=path,
            expected=error.expected,
            actual=error.actual,
            bad_parts=(error.path,),
            action="fall back" if queue else "raise",
        )
    proposed = queue[0].id if queue else None
    report = operation.fire(HookEvent.ON_CHECKPOINT_LOAD_ERROR, error=error, file_path=path, fallback_id=proposed)
    chosen = report.context.get("fallback_id")
    if chosen in passed:  # or a hook that always names the same one would never let this end
        chosen = proposed
    return services.records.get_checkpoint(chosen) if chosen else None


def _load_one(
    services: Services, operation: Operation, record: CheckpointRecord, request: LoadRequest, passed: tuple[str, ...]
) -> LoadReport:
    watch = Stopwatch()
    backend = services.backends.open(record.backend)
    before = operation.fire(
        HookEvent.BEFORE_CHECKPOINT_LOAD,
        file_path=path_or_none(backend, record.id),
        backend=record.backend,
        map_location=None,
        strict=request.strict,
        weights_only=True,
        keys=None,
    )
    strictness = STRICTNESS.get(before.context.get("strict"), "error")
    payload = _read(backend, record, request.verify)
    if record.damage:  # it verifies again: the file was put back
        mark_damaged(services, record.id, "")
    states, rng = _decode(services, payload)
    differences = _check_all(services, request.into, states)
    if strictness == "error":
        _refuse(record.id, states, differences, request.advice)
    if request.with_rng and rng:
        check_rng(services.adapters, rng)
    _restore_all(services, record.id, request.into, states, strict=strictness == "error")
    if request.with_rng and rng:
        _restore_streams(services, record.id, request.into, rng)
    missing, unexpected, mismatched = _joined(differences)
    if strictness == "ignore":
        missing, unexpected, mismatched = (), (), {}
    operation.fire(
        HookEvent.AFTER_CHECKPOINT_LOAD,
        file_path=path_or_none(backend, record.id),
        epoch=record.epoch,
        step=record.step,
        missing_keys=missing,
        unexpected_keys=unexpected,
        nbytes=payload.nbytes,
        duration_s=watch.elapsed_s,
    )
    return LoadReport(
        checkpoint_id=record.id,
        epoch=record.epoch,
        step=record.step,
        metrics=record.metrics,
        verified=backend.capabilities.checked(request.verify),
        fell_back_from=passed,
        missing=missing,
        unexpected=unexpected,
        mismatched=mismatched,
        nbytes=payload.nbytes,
        duration_s=watch.elapsed_s,
        states=states,
        tags=record.tags,
    )


def checked_depth(depth: object, argument: str = "verify") -> str:
    """Return `depth`, one of ``contracts.DEPTHS``. Raises ``ConfigurationError``."""
    if depth not in DEPTHS:
        raise ConfigurationError(f"{argument}={depth!r} is not known: use {', '.join(map(repr, DEPTHS))}")
    return str(depth)


def _read(backend: StorageBackend, record: CheckpointRecord, depth: str) -> CheckpointPayload:
    try:
        return backend.read(record.id, expected_digest=record.digest or None, depth=depth)
    except CheckpointNotFoundError as error:
        refuse_empty(backend, record)
        raise MissingFileError(
            f"checkpoint {record.id} is recorded, and the storage backend {record.backend!r} has nothing of it: restore"
            " its files from a copy, or delete the checkpoint",
            expected=record.digest,
        ) from error


def _decode(services: Services, payload: CheckpointPayload) -> tuple[dict[str, object], dict[str, object]]:
    whole = unflatten(payload.tree, payload.buffers, services.adapters)
    if not isinstance(whole, dict) or not isinstance(whole.get(OBJECTS), dict):
        raise IntegrityError(f"checkpoint {payload.checkpoint_id} verifies but does not hold a training's state")
    streams = whole.get(RNG)
    return whole[OBJECTS], streams if isinstance(streams, dict) else {}


def _check_all(services: Services, into: Mapping[str, object], states: Mapping[str, object]) -> dict[str, Mismatches]:
    return {
        name: check(obj, states[name], services.adapters) if name in states else Mismatches(missing=("",))
        for name, obj in into.items()
    }


def _refuse(
    checkpoint_id: str, states: Mapping[str, object], differences: Mapping[str, Mismatches], advice: str
) -> None:
    problems: list[tuple[str, str]] = []
    absent = [name for name in differences if name not in states]
    for name, found in differences.items():
        if name not in states:
            problems.append((name, f"the checkpoint has no {name!r}; it has {', '.join(sorted(states)) or 'nothing'}"))
            continue
        problems += [(_joined_path(name, key), "missing from the checkpoint") for key in found.missing]
        problems += [(_joined_path(name, key), f"unknown to the live {name}") for key in found.unexpected]
        problems += [(_joined_path(name, key), what) for key, what in found.mismatched.items()]
    if problems:
        raise StateMismatchError(checkpoint_id, problems, absent=absent, advice=advice)


def _restore_all(
    services: Services, checkpoint_id: str, into: Mapping[str, object], states: Mapping[str, object], *, strict: bool
) -> None:
    done: list[str] = []
    for name, obj in into.items():
        if name not in states:
            continue
        try:
            restore_into(obj, states[name], services.adapters, strict=strict)
        except Exception as error:
            raise PartialRestoreError(checkpoint_id, done, name) from error
        done.append(name)


def _restore_streams(
    services: Services, checkpoint_id: str, into: Mapping[str, object], rng: Mapping[str, object]
) -> None:
    try:
        restore_rng(services.adapters, rng)
    except Exception as error:
        raise PartialRestoreError(checkpoint_id, list(into), "the random streams") from error


def _joined(differences: Mapping[str, Mismatches]) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    return (
        tuple(_joined_path(name, key) for name, found in differences.items() for key in found.missing),
        tuple(_joined_path(name, key) for name, found in differences.items() for key in found.unexpected),
        {
            _joined_path(name, key): what
            for name, found in differences.items()
            for key, what in found.mismatched.items()
        },
    )


def _joined_path(name: str, key: str) -> str:
    if not key:
        return name
    return f"{name}{key}" if key.startswith("[") else f"{name}.{key}"
