"""Rows of checkpoints as records: one statement for the rows and four for each 500 of them, never one for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, Select, select

from model_checkpoint.contracts import CheckpointRecord
from model_checkpoint.database.schema import (
    best_flags,
    checkpoint_marks,
    checkpoint_metrics,
    checkpoint_tags,
    checkpoints,
    experiments,
    runs,
)
from model_checkpoint.database.tags import chunks, tags_of
from model_checkpoint.database.values import decode_json, decode_number


def checkpoint_rows() -> Select[tuple[object, ...]]:
    """Return the statement that `load_checkpoints` reads, for the caller to narrow and order."""
    labels = (
        runs.c.id.label("run_id"),
        runs.c.name.label("run_name"),
        experiments.c.id.label("experiment_id"),
    )
    return (
        select(checkpoints, *labels)
        .join(runs, runs.c.key == checkpoints.c.run_key)
        .join(experiments, experiments.c.key == checkpoints.c.experiment_key)
    )


def load_checkpoints(connection: Connection, statement: Select[tuple[object, ...]]) -> list[CheckpointRecord]:
    """Run `statement` and complete its rows with their metrics, tags, marks and best flags."""
    rows = connection.execute(statement).all()
    keys = [row.key for row in rows]
    numbers = _metrics_of(connection, keys)
    tags = tags_of(connection, checkpoint_tags, keys)
    flags = _flags_of(connection, keys)
    marks = _marks_of(connection, keys)
    return [
        CheckpointRecord(
            id=row.id,
            run_id=row.run_id,
            run_name=row.run_name,
            experiment_id=row.experiment_id,
            created_at_s=row.created_at_s,
            backend=row.backend,
            digest=row.digest,
            nbytes=row.nbytes,
            nbytes_written=row.nbytes_written,
            duration_s=row.duration_s,
            sequence=row.sequence,
            epoch=row.epoch,
            step=row.step,
            parent_id=row.parent_id,
            metrics=numbers.get(row.key, {}),
            tags=tags.get(row.key, {}),
            metadata=decode_json(row.metadata),
            damage=row.damage,
            pinned="pin" in marks[row.key],
            note=marks[row.key]["note"].get("", "") if "note" in marks[row.key] else "",
            aliases=tuple(sorted(marks[row.key].get("alias", ()))),
            best_for=() if row.damage else tuple(sorted(flags.get(row.key, ()))),
        )
        for row in rows
    ]


def _metrics_of(connection: Connection, keys: Sequence[int]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = defaultdict(dict)
    table = checkpoint_metrics.c
    for piece in chunks(keys):
        statement = select(table.checkpoint_key, table.name, table.value, table.exact)
        for key, name, value, exact in connection.execute(statement.where(table.checkpoint_key.in_(piece))):
            found[key][name] = decode_number(value, exact)
    return found


def _marks_of(connection: Connection, keys: Sequence[int]) -> dict[int, dict[str, dict[str, str]]]:
    """Return the marks of each row by kind and name."""
    found: dict[int, dict[str, dict[str, str]]] = defaultdict(dict)
    table = checkpoint_marks.c
    for piece in chunks(keys):
        statement = select(table.checkpoint_key, table.kind, table.name, table.value)
        for key, kind, name, value in connection.execute(statement.where(table.checkpoint_key.in_(piece))):
            found[key].setdefault(kind, {})[name] = value
    return found


def _flags_of(connection: Connection, keys: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for piece in chunks(keys):
        statement = select(best_flags.c.checkpoint_key, best_flags.c.metric)
        for key, metric in connection.execute(statement.where(best_flags.c.checkpoint_key.in_(piece))):
            found[key].append(metric)
    return found
