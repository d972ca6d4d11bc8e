"""Writes lost records anew from what is stored: checkpoints with their runs, metrics, tags, pins, notes and aliases.

Metric histories, run configurations and events live in the record store alone and do not come back.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from model_checkpoint.checkpoint.ranking import flags_won
from model_checkpoint.common.clock import now_s
from model_checkpoint.contracts import CheckpointRecord, EventRecord, RunRecord, RunStatus
from model_checkpoint.errors import CheckpointEngineError, CheckpointNotFoundError, InvalidNameError

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.services import Services
    from model_checkpoint.contracts import JSON, CanUndo, MarkKeeper, StoredCheckpoint

REBUILT, CONFIRMED = "records_rebuilt", "records_confirmed"
_log = logging.getLogger("model_checkpoint")


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild found and wrote."""

    recorded: tuple[str, ...]
    """Ids of checkpoints that were stored and not recorded, and now are."""
    known: int
    """How many were recorded already."""
    unreadable: Mapping[str, str]
    """By id, why a stored checkpoint could not be taken in. It is left as it is."""


def rebuild(services: Services, backends: Iterable[str]) -> RebuildReport:
    """Record every stored checkpoint that is not recorded; nothing that is recorded changes.

    Raises ``StorageError`` where a backend cannot be listed.
    """
    unreadable: dict[str, str] = {}
    known = 0
    found: list[tuple[str, StoredCheckpoint]] = []
    for name in backends:
        backend = services.backends.open(name)
        for checkpoint_id in backend.list_ids():
            if services.records.get_checkpoint(checkpoint_id) is not None:
                known += 1
                continue
            try:
                found.append((name, backend.describe(checkpoint_id)))
            except CheckpointEngineError as error:
                unreadable[checkpoint_id] = str(error)
    recorded = []
    for name, stored in sorted(found, key=lambda one: (_when(one[1]), _sequence(one[1]))):
        try:
            _record(services, name, stored)
            recorded.append(stored.checkpoint_id)
        except (CheckpointEngineError, KeyError, TypeError, ValueError) as error:
            unreadable[stored.checkpoint_id] = str(error) or type(error).__name__
    _bring_back_marks(services, backends, set(recorded))
    if recorded:
        services.records.append_event(EventRecord(None, REBUILT, now_s(), details={"checkpoints": len(recorded)}))
    return RebuildReport(tuple(recorded), known, unreadable)


def undelete(services: Services, backends: Iterable[str], checkpoint_id: str) -> None:
    """Take back a deletion that nothing was cleaned up since. Raises ``CheckpointNotFoundError``."""
    for name in backends:
        backend = services.backends.open(name)
        if not backend.capabilities.can_undo:
            continue
        with contextlib.suppress(CheckpointNotFoundError):
            cast("CanUndo", backend).restore(checkpoint_id)
            if services.records.get_checkpoint(checkpoint_id) is None:
                try:
                    _record(services, name, backend.describe(checkpoint_id))
                except (KeyError, TypeError, ValueError) as error:
                    raise CheckpointNotFoundError(
                        f"{checkpoint_id!r} is stored again and cannot be recorded: it does not say of which run it is"
                    ) from error
                _bring_back_marks(services, [name], {checkpoint_id})
            return
    raise CheckpointNotFoundError(
        f"{checkpoint_id!r} cannot be brought back: it was never deleted here, or a clean-up has come since"
    )


def is_unconfirmed(services: Services) -> bool:
    """Say whether records were rebuilt and nobody has confirmed yet that they are what they should be."""
    names = [event.name for event in services.records.read_events() if event.name in (REBUILT, CONFIRMED)]
    return names[-1:] == [REBUILT]


def confirm(services: Services) -> None:
    """Say that rebuilt records are what they should be: policies may drop checkpoints again."""
    if is_unconfirmed(services):
        services.records.append_event(EventRecord(None, CONFIRMED, now_s()))


def _record(services: Services, backend: str, stored: StoredCheckpoint) -> None:
    told = stored.metadata
    experiment = services.records.ensure_experiment(str(told["experiment"]))
    created_at_s = _number(told["created_at_s"])
    run = RunRecord(
        id=str(told["run_id"]),
        name=str(told["run"]),
        experiment_id=experiment.id,
        experiment_name=experiment.name,
        status=RunStatus.CRASHED,
        created_at_s=created_at_s,
        reason="rebuilt from its stored checkpoints",
    )
    metrics = {name: _number(value) for name, value in _table(told.get("metrics")).items()}
    record = CheckpointRecord(
        id=stored.checkpoint_id,
        run_id=run.id,
        run_name=run.name,
        experiment_id=experiment.id,
        created_at_s=created_at_s,
        backend=backend,
        digest=stored.digest,
        nbytes=stored.nbytes,
        nbytes_written=0,
        duration_s=0.0,
        sequence=_sequence(stored),
        epoch=_int(told.get("epoch")),
        step=_int(told.get("step")),
        parent_id=str(told["parent"]) if told.get("parent") is not None else None,
        metrics=metrics,
        tags={name: str(value) for name, value in _table(told.get("tags")).items()},
        metadata=_table(told.get("metadata")),
    )
    won = flags_won(services, record, services.records.best_flags(run.id))
    for name in (run.name, *(f"{run.name}-rebuilt{number}" for number in ("", *range(2, 100)))):
        try:  # since the records were lost, another run may have been given the name
            services.records.restore_checkpoint(record, run=replace(run, name=name), best=won)
            return
        except InvalidNameError:
            continue
    raise InvalidNameError(f"run {run.name!r} cannot be recorded: a hundred names like it are taken")


def _bring_back_marks(services: Services, backends: Iterable[str], ids: set[str]) -> None:
    for name in backends:
        backend = services.backends.open(name)
        if not backend.capabilities.keeps_marks:
            continue
        for mark in cast("MarkKeeper", backend).marks():
            if mark.checkpoint_id in ids:
                try:
                    services.records.mark(mark)
                except CheckpointEngineError as error:
                    _log.warning("a %s of checkpoint %s was not taken over: %s", mark.kind, mark.checkpoint_id, error)


def _when(stored: StoredCheckpoint) -> float:
    found = stored.metadata.get("created_at_s")
    return found if isinstance(found, float | int) else 0.0


def _sequence(stored: StoredCheckpoint) -> int:
    found = stored.metadata.get("sequence")
    return found if type(found) is int and found > 0 else 1


def _number(value: JSON) -> float:
    """Return a number as a save wrote it: NaN and infinities are words there."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is no number")
    return float(value) if isinstance(value, str) else value


def _int(value: JSON) -> int | None:
    return value if type(value) is int else None


def _table(value: JSON) -> dict[str, JSON]:
    return value if isinstance(value, dict) else {}
