"""Metric points and events: what is appended and never changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, or_, select

from model_checkpoint.contracts import EventRecord, MetricPoint
from model_checkpoint.database.runs import run_keys
from model_checkpoint.database.schema import events, metrics, runs
from model_checkpoint.database.values import (
    checked_tags,
    decode_json,
    decode_number,
    encode_json,
    encode_number,
)


def append_metrics(connection: Connection, points: Sequence[MetricPoint]) -> None:
    """Write points in the order given."""
    keys = run_keys(connection, {point.run_id for point in points})
    rows = []
    for point in points:
        value, exact = encode_number(point.value, point.name)
        rows.append(
            {
                "run_key": keys[point.run_id],
                "name": point.name,
                "step": point.step,
                "value": value,
                "exact": exact,
                "time_s": point.time_s,
                "epoch": point.epoch,
                "tags": encode_json(dict(checked_tags(point.tags))) if point.tags else None,
            }
        )
    connection.execute(insert(metrics), rows)


def read_metrics(connection: Connection, run_id: str, *, name: str | None, max_step: int | None) -> list[MetricPoint]:
    """Return the points that count, by step and then in the order of writing; those without a step come first.

    A metric is its name and its tags: ``loss`` of ``subset=val`` does not supersede ``loss`` of ``subset=train``.
    """
    table = metrics.c
    statement = (
        select(table.name, table.step, table.value, table.exact, table.time_s, table.epoch, table.tags)
        .join(runs, runs.c.key == table.run_key)
        .where(runs.c.id == run_id)
        .order_by(table.step.asc().nulls_first(), table.key)
    )
    if name is not None:
        statement = statement.where(table.name == name)
    if max_step is not None:
        statement = statement.where(or_(table.step.is_(None), table.step <= max_step))
    latest: dict[object, MetricPoint] = {}
    for number, row in enumerate(connection.execute(statement)):
        tags = {key: str(value) for key, value in decode_json(row.tags).items()} if row.tags else {}
        point = MetricPoint(
            run_id, row.name, decode_number(row.value, row.exact), row.step, row.time_s, row.epoch, tags
        )
        place = number if row.step is None else (row.name, row.step, frozenset(tags.items()))
        latest.pop(place, None)  # the winner stands where it was written, not where the one before it was
        latest[place] = point
    return list(latest.values())


def append_event(connection: Connection, event: EventRecord) -> None:
    """Write one event."""
    key = None if event.run_id is None else run_keys(connection, [event.run_id])[event.run_id]
    connection.execute(
        insert(events).values(
            run_key=key,
            name=event.name,
            time_s=event.time_s,
            checkpoint_id=event.checkpoint_id,
            details=encode_json(event.details),
        )
    )


def read_events(connection: Connection, *, run_id: str | None) -> list[EventRecord]:
    """Return events, the oldest first."""
    table = events.c
    statement = (
        select(table.name, table.time_s, table.checkpoint_id, table.details, runs.c.id)
        .outerjoin(runs, runs.c.key == table.run_key)
        .order_by(table.key)
    )
    if run_id is not None:
        statement = statement.where(runs.c.id == run_id)
    return [
        EventRecord(owner, name, time_s, checkpoint_id, decode_json(details))
        for name, time_s, checkpoint_id, details, owner in connection.execute(statement)
    ]
