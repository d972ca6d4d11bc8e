"""Checkpoints and best flags: the statements, each on a connection whose transaction the store has begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, Select, delete, insert, select, update

from model_checkpoint.contracts import BestFlag, CheckpointRecord
from model_checkpoint.database.checkpoint_rows import checkpoint_rows, load_checkpoints
from model_checkpoint.database.schema import (
    best_flags,
    checkpoint_metrics,
    checkpoint_tags,
    checkpoints,
    experiments,
    runs,
)
from model_checkpoint.database.tags import add_tags
from model_checkpoint.database.values import (
    EXACT_INT,
    LARGEST,
    checked_tags,
    decode_number,
    encode_json,
    encode_number,
)
from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    ConfigurationError,
    RecordStoreError,
    StaleGenerationError,
)


def commit_checkpoint(
    connection: Connection, record: CheckpointRecord, best: Sequence[BestFlag], expected_generation: int
) -> CheckpointRecord:
    """Write the row, its metrics, tags and best flags. Whoever raises here leaves it to the transaction to undo."""
    if connection.scalar(select(checkpoints.c.key).where(checkpoints.c.id == record.id)) is not None:
        raise CheckpointExistsError(f"a checkpoint with id {record.id!r} is recorded already; ids are never reused")
    run = _advance(connection, record.run_id, expected_generation)
    sequence = expected_generation + 1
    row = {
        "id": record.id,
        "run_key": run.key,
        "experiment_key": run.experiment_key,
        "sequence": sequence,
        "created_at_s": record.created_at_s,
        "backend": record.backend,
        "digest": record.digest,
        "nbytes": record.nbytes,
        "nbytes_written": record.nbytes_written,
        "duration_s": record.duration_s,
        "epoch": record.epoch,
        "step": record.step,
        "parent_id": record.parent_id,
        "metadata": encode_json(record.metadata),
        "damage": record.damage,
    }
    key = connection.scalar(insert(checkpoints).values(row).returning(checkpoints.c.key))
    assert key is not None
    shared = {"checkpoint_key": key, "run_key": run.key, "experiment_key": run.experiment_key}
    if record.metrics:
        rows = [{**shared, "name": name, **_columns(name, value)} for name, value in record.metrics.items()]
        connection.execute(insert(checkpoint_metrics), rows)
    add_tags(connection, checkpoint_tags, key, checked_tags(record.tags))
    _set_flags(connection, run.key, key, record, best)
    won = tuple(sorted(flag.metric for flag in best))
    return replace(record, run_name=run.name, experiment_id=run.experiment_id, sequence=sequence, best_for=won)


def _columns(name: str, value: float) -> dict[str, float | str | None]:
    number, exact = encode_number(value, name)
    return {"value": number, "exact": exact}


class _Run:
    """What a commit needs to know of its run."""

    __slots__ = ("experiment_id", "experiment_key", "key", "name")

    def __init__(self, key: int, name: str, experiment_key: int, experiment_id: str) -> None:
        self.key, self.name = key, name
        self.experiment_key, self.experiment_id = experiment_key, experiment_id


def _advance(connection: Connection, run_id: str, expected: int) -> _Run:
    """Move the run's generation on by one if it is `expected`: in one statement, where two writers cannot both win."""
    moved = connection.execute(
        update(runs).where(runs.c.id == run_id, runs.c.generation == expected).values(generation=expected + 1)
    )
    found = connection.execute(
        select(runs.c.key, runs.c.name, runs.c.generation, runs.c.experiment_key, experiments.c.id)
        .join(experiments, experiments.c.key == runs.c.experiment_key)
        .where(runs.c.id == run_id)
    ).one_or_none()
    if found is None:
        raise RecordStoreError(f"there is no run with id {run_id!r}: create_run gives the id")
    key, name, generation, experiment_key, experiment_id = found
    if moved.rowcount != 1:
        raise StaleGenerationError(
            f"run {name!r} is at generation {generation}, not {expected}: another process committed a checkpoint to it"
            " in between. Rank again and retry"
        )
    return _Run(key, name, experiment_key, experiment_id)


def _set_flags(
    connection: Connection, run_key: int, key: int, record: CheckpointRecord, best: Sequence[BestFlag]
) -> None:
    if not best:
        return
    if any(flag.run_id != record.run_id or flag.checkpoint_id != record.id for flag in best):
        raise ConfigurationError(f"best flags committed with checkpoint {record.id!r} belong to it and to its run")
    names = [flag.metric for flag in best]
    connection.execute(delete(best_flags).where(best_flags.c.run_key == run_key, best_flags.c.metric.in_(names)))
    rows = [
        {
            "run_key": run_key,
            "metric": flag.metric,
            "mode": _checked_mode(flag.mode),
            "checkpoint_key": key,
            **_columns(flag.metric, flag.value),
        }
        for flag in best
    ]
    connection.execute(insert(best_flags), rows)


def find_checkpoint(connection: Connection, checkpoint_id: str) -> CheckpointRecord | None:
    """Return the checkpoint with that id, or None."""
    return _first(load_checkpoints(connection, checkpoint_rows().where(checkpoints.c.id == checkpoint_id)))


def list_checkpoints(
    connection: Connection,
    *,
    run_id: str | None,
    experiment_id: str | None,
    tag: str | None,
    include_damaged: bool,
    limit: int | None,
) -> list[CheckpointRecord]:
    """Return checkpoints, the newest first."""
    statement = _within(checkpoint_rows(), run_id, experiment_id).order_by(checkpoints.c.key.desc()).limit(limit)
    if tag is not None:
        tagged = select(checkpoint_tags.c.checkpoint_key).where(checkpoint_tags.c.name == tag)
        statement = statement.where(checkpoints.c.key.in_(tagged))
    if not include_damaged:
        statement = statement.where(checkpoints.c.damage == "")
    return load_checkpoints(connection, statement)


def _within(
    statement: Select[tuple[object, ...]], run_id: str | None, experiment_id: str | None
) -> Select[tuple[object, ...]]:
    if run_id is not None:
        statement = statement.where(checkpoints.c.run_key == _run_key(run_id))
    if experiment_id is not None:
        statement = statement.where(checkpoints.c.experiment_key == _experiment_key(experiment_id))
    return statement


def _run_key(run_id: str) -> ColumnElement[int]:
    return select(runs.c.key).where(runs.c.id == run_id).scalar_subquery()


def _experiment_key(experiment_id: str) -> ColumnElement[int]:
    return select(experiments.c.key).where(experiments.c.id == experiment_id).scalar_subquery()


def best_checkpoint(
    connection: Connection, *, metric: str, mode: str, run_id: str | None, experiment_id: str | None
) -> CheckpointRecord | None:
    """Return the best undamaged one: the first step down an index on (run or experiment, metric, value)."""
    table = checkpoint_metrics.c
    value = table.value
    ranked = (
        select(checkpoints.c.key, value, table.exact)
        .join(checkpoints, checkpoints.c.key == table.checkpoint_key)
        .where(table.name == metric, value.between(-LARGEST, LARGEST), checkpoints.c.damage == "")
        .order_by(value.asc() if _checked_mode(mode) == "min" else value.desc(), table.checkpoint_key)
    )
    if run_id is not None:
        ranked = ranked.where(table.run_key == _run_key(run_id))
    if experiment_id is not None:
        ranked = ranked.where(table.experiment_key == _experiment_key(experiment_id))
    top = connection.execute(ranked.limit(1)).one_or_none()
    if top is None:
        return None
    key = top.key
    if abs(top.value) >= EXACT_INT:  # several integers share this float: compare them as what they are
        equals = connection.execute(ranked.where(value == top.value)).all()
        numbers = [decode_number(row.value, row.exact) for row in equals]
        key = equals[numbers.index(min(numbers) if mode == "min" else max(numbers))].key
    return _first(load_checkpoints(connection, checkpoint_rows().where(checkpoints.c.key == key)))


def _checked_mode(mode: str) -> str:
    if mode in ("min", "max"):
        return mode
    raise ConfigurationError(f"{mode!r} is no ranking mode: use 'min' or 'max'")


def best_flags_of(connection: Connection, run_id: str) -> dict[str, BestFlag]:
    """Return the run's best flags by metric."""
    flags = best_flags.c
    rows = connection.execute(
        select(flags.metric, flags.mode, flags.value, flags.exact, checkpoints.c.id)
        .join(checkpoints, checkpoints.c.key == flags.checkpoint_key)
        .where(flags.run_key == _run_key(run_id))
        .order_by(flags.metric)
    )
    return {
        metric: BestFlag(run_id, metric, mode, checkpoint_id, decode_number(value, exact))
        for metric, mode, value, exact, checkpoint_id in rows
    }


def mark_damaged(connection: Connection, checkpoint_id: str, damage: str) -> None:
    """Write or clear the mark. Raises ``CheckpointNotFoundError``."""
    _changed_one(
        connection.execute(update(checkpoints).where(checkpoints.c.id == checkpoint_id).values(damage=damage)).rowcount,
        checkpoint_id,
    )


def delete_checkpoint(connection: Connection, checkpoint_id: str) -> None:
    """Remove the row; its metrics, tags and best flags go by their foreign keys. Raises ``CheckpointNotFoundError``."""
    _changed_one(
        connection.execute(delete(checkpoints).where(checkpoints.c.id == checkpoint_id)).rowcount, checkpoint_id
    )


def _changed_one(count: int, checkpoint_id: str) -> None:
    if count == 0:
        raise CheckpointNotFoundError(f"no checkpoint with id {checkpoint_id!r} is recorded")


def _first(found: list[CheckpointRecord]) -> CheckpointRecord | None:
    return found[0] if found else None
