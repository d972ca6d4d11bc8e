"""Checkpoints: the statements, each on a connection whose transaction the store has begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Select, delete, insert, select, update

from model_checkpoint.contracts import BestFlag, CheckpointRecord, RunRecord
from model_checkpoint.database.best import (
    claim_flags,
    columns_of,
    experiment_key,
    hand_on_flags,
    run_key,
    set_flags,
)
from model_checkpoint.database.checkpoint_rows import checkpoint_rows, load_checkpoints
from model_checkpoint.database.runs import restore_run
from model_checkpoint.database.schema import checkpoint_metrics, checkpoint_tags, checkpoints, experiments, runs
from model_checkpoint.database.tags import add_tags
from model_checkpoint.database.values import checked_tags, encode_json
from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    RecordStoreError,
    StaleGenerationError,
)


def commit_checkpoint(
    connection: Connection, record: CheckpointRecord, best: Sequence[BestFlag], expected_generation: int
) -> CheckpointRecord:
    """Write the row, its metrics, tags and best flags. Whoever raises here leaves it to the transaction to undo."""
    _refuse_recorded(connection, record.id)
    run = _advance(connection, record.run_id, expected_generation)
    return _insert(connection, record, run, best, expected_generation + 1)


def restore_checkpoint(
    connection: Connection, record: CheckpointRecord, run: RunRecord, best: Sequence[BestFlag]
) -> CheckpointRecord:
    """Write the row of a stored checkpoint, and its run where that is gone too, under their own ids and number.

    The run's generation never goes back. Where the number is taken, another checkpoint was saved under it: it gets the
    next one.
    """
    _refuse_recorded(connection, record.id)
    restore_run(connection, run)
    found = _run_of(connection, run.id)
    assert found is not None
    own, generation = found
    same = select(checkpoints.c.key).where(checkpoints.c.run_key == own.key, checkpoints.c.sequence == record.sequence)
    sequence = record.sequence if connection.scalar(same) is None else generation + 1
    moved = update(runs).where(runs.c.key == own.key).values(generation=max(generation, sequence))
    connection.execute(moved)
    return _insert(connection, record, own, best, sequence)


def _refuse_recorded(connection: Connection, checkpoint_id: str) -> None:
    if connection.scalar(select(checkpoints.c.key).where(checkpoints.c.id == checkpoint_id)) is not None:
        raise CheckpointExistsError(f"a checkpoint with id {checkpoint_id!r} is recorded already; ids are never reused")


def _insert(
    connection: Connection, record: CheckpointRecord, run: _Run, best: Sequence[BestFlag], sequence: int
) -> CheckpointRecord:
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
        rows = [{**shared, "name": name, **columns_of(name, value)} for name, value in record.metrics.items()]
        connection.execute(insert(checkpoint_metrics), rows)
    add_tags(connection, checkpoint_tags, key, checked_tags(record.tags))
    set_flags(connection, run.key, key, record, best)
    won = tuple(sorted(flag.metric for flag in best))
    return replace(record, run_name=run.name, experiment_id=run.experiment_id, sequence=sequence, best_for=won)


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
    found = _run_of(connection, run_id)
    if found is None:
        raise RecordStoreError(f"there is no run with id {run_id!r}: create_run gives the id")
    run, generation = found
    if moved.rowcount != 1:
        raise StaleGenerationError(
            f"run {run.name!r} is at generation {generation}, not {expected}: another process committed a checkpoint to"
            " it in between. Rank again and retry"
        )
    return run


def _run_of(connection: Connection, run_id: str) -> tuple[_Run, int] | None:
    """Return the run and its generation."""
    found = connection.execute(
        select(runs.c.key, runs.c.name, runs.c.generation, runs.c.experiment_key, experiments.c.id)
        .join(experiments, experiments.c.key == runs.c.experiment_key)
        .where(runs.c.id == run_id)
    ).one_or_none()
    if found is None:
        return None
    key, name, generation, experiment_key, experiment_id = found
    return _Run(key, name, experiment_key, experiment_id), generation


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
    statement = _within(checkpoint_rows(), run_id, experiment_id).limit(limit)
    # within a run by number: an older checkpoint may have been deleted and brought back
    statement = statement.order_by(checkpoints.c.key.desc() if run_id is None else checkpoints.c.sequence.desc())
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
        statement = statement.where(checkpoints.c.run_key == run_key(run_id))
    if experiment_id is not None:
        statement = statement.where(checkpoints.c.experiment_key == experiment_key(experiment_id))
    return statement


def mark_damaged(connection: Connection, checkpoint_id: str, damage: str) -> None:
    """Write or clear the mark, and settle the best flags anew. Raises ``CheckpointNotFoundError``."""
    key = key_of(connection, checkpoint_id)
    connection.execute(update(checkpoints).where(checkpoints.c.key == key).values(damage=damage))
    if damage:
        hand_on_flags(connection, key)
    else:
        claim_flags(connection, key)


def delete_checkpoint(connection: Connection, checkpoint_id: str) -> None:
    """Hand on its best flags and remove the row, with its metrics and tags. Raises ``CheckpointNotFoundError``."""
    key = key_of(connection, checkpoint_id)
    hand_on_flags(connection, key)
    connection.execute(delete(checkpoints).where(checkpoints.c.key == key))


def key_of(connection: Connection, checkpoint_id: str) -> int:
    """Return the store's own key of a checkpoint. Raises ``CheckpointNotFoundError``."""
    key: int | None = connection.scalar(select(checkpoints.c.key).where(checkpoints.c.id == checkpoint_id))
    if key is None:
        raise CheckpointNotFoundError(f"no checkpoint with id {checkpoint_id!r} is recorded")
    return key


def _first(found: list[CheckpointRecord]) -> CheckpointRecord | None:
    return found[0] if found else None
