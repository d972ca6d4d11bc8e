"""Experiments and runs: the statements, each on a connection whose transaction the store has begun."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, Select, insert, or_, select, update

from model_checkpoint.common.clock import now_s
from model_checkpoint.common.ids import random_id
from model_checkpoint.contracts import JSON, ExperimentRecord, RunRecord, RunStatus
from model_checkpoint.database.schema import experiment_tags, experiments, run_params, run_tags, runs
from model_checkpoint.database.tags import add_tags, merge_tags, tags_of
from model_checkpoint.database.values import checked_tags, decode_json, encode_json, flat_params
from model_checkpoint.errors import InvalidNameError, RecordStoreError


def find_experiment(connection: Connection, name: str) -> ExperimentRecord | None:
    """Return the experiment of that name, or None."""
    row = connection.execute(select(experiments).where(experiments.c.name == name)).one_or_none()
    if row is None:
        return None
    tags = tags_of(connection, experiment_tags, [row.key])
    return ExperimentRecord(row.id, row.name, row.created_at_s, tags.get(row.key, {}))


def ensure_experiment(connection: Connection, name: str, tags: Mapping[str, str]) -> None:
    """Create the experiment unless it is there, and merge its tags."""
    key = connection.scalar(select(experiments.c.key).where(experiments.c.name == name))
    if key is None:
        values = {"id": random_id(), "name": name, "created_at_s": now_s(), "run_count": 0}
        key = connection.scalar(insert(experiments).values(values).returning(experiments.c.key))
        assert key is not None
    merge_tags(connection, experiment_tags, key, tags)


def create_run(
    connection: Connection,
    experiment_id: str,
    *,
    name: str | None,
    config: Mapping[str, JSON],
    tags: Mapping[str, str],
    environment: Mapping[str, JSON],
) -> RunRecord:
    """Write a new run. The transaction holds the write lock, so that a counted name is nobody else's."""
    experiment = connection.execute(select(experiments).where(experiments.c.id == experiment_id)).one_or_none()
    if experiment is None:
        raise RecordStoreError(f"there is no experiment with id {experiment_id!r}: call ensure_experiment first")
    name = _counted_name(connection, experiment.key, experiment.name) if name is None else _free(connection, name)
    record = RunRecord(
        id=random_id(),
        name=name,
        experiment_id=experiment_id,
        experiment_name=experiment.name,
        status=RunStatus.RUNNING,
        created_at_s=now_s(),
        config=dict(config),
        tags=tags,
        environment=dict(environment),
    )
    values = {
        "id": record.id,
        "name": name,
        "experiment_key": experiment.key,
        "status": record.status.value,
        "created_at_s": record.created_at_s,
        "generation": 0,
        "reason": "",
        "config": encode_json(config),
        "environment": encode_json(environment),
    }
    key = connection.scalar(insert(runs).values(values).returning(runs.c.key))
    assert key is not None
    add_tags(connection, run_tags, key, tags)
    params = [
        {"run_key": key, "name": param, "number": number, "text": text}
        for param, (number, text) in flat_params(config).items()
    ]
    if params:
        connection.execute(insert(run_params), params)
    return record


def restore_run(connection: Connection, run: RunRecord) -> None:
    """Write `run` under its own id and name, unless it is there. Raises ``InvalidNameError``."""
    if connection.scalar(select(runs.c.key).where(runs.c.id == run.id)) is not None:
        return
    owner = connection.scalar(select(experiments.c.key).where(experiments.c.id == run.experiment_id))
    if owner is None:
        raise RecordStoreError(f"there is no experiment with id {run.experiment_id!r}: ensure_experiment gives the id")
    values = {
        "id": run.id,
        "name": _free(connection, run.name),
        "experiment_key": owner,
        "status": run.status.value,
        "created_at_s": run.created_at_s,
        "ended_at_s": run.ended_at_s,
        "last_step": run.last_step,
        "generation": run.generation,
        "reason": run.reason,
        "config": encode_json(run.config),
        "environment": encode_json(run.environment),
    }
    key = connection.scalar(insert(runs).values(values).returning(runs.c.key))
    assert key is not None
    add_tags(connection, run_tags, key, checked_tags(run.tags))


def _free(connection: Connection, name: str) -> str:
    if _taken(connection, name):
        raise InvalidNameError(f"a run named {name!r} exists already: choose another name, or resume that run")
    return name


def _taken(connection: Connection, name: str) -> bool:
    return connection.scalar(select(runs.c.key).where(runs.c.name == name)) is not None


def _counted_name(connection: Connection, experiment_key: int, experiment_name: str) -> str:
    count = (
        update(experiments)
        .where(experiments.c.key == experiment_key)
        .values(run_count=experiments.c.run_count + 1)
        .returning(experiments.c.run_count)
    )
    while True:
        name = f"{experiment_name}-{connection.scalar(count)}"
        if not _taken(connection, name):  # somebody may have chosen the very name
            return name


def _run_rows() -> Select[tuple[object, ...]]:
    owner = (experiments.c.id.label("experiment_id"), experiments.c.name.label("experiment_name"))
    return select(runs, *owner).join(experiments, experiments.c.key == runs.c.experiment_key)


def _load(connection: Connection, statement: Select[tuple[object, ...]]) -> list[RunRecord]:
    rows = connection.execute(statement).all()
    tags = tags_of(connection, run_tags, [row.key for row in rows])
    return [
        RunRecord(
            id=row.id,
            name=row.name,
            experiment_id=row.experiment_id,
            experiment_name=row.experiment_name,
            status=RunStatus(row.status),
            created_at_s=row.created_at_s,
            ended_at_s=row.ended_at_s,
            last_step=row.last_step,
            generation=row.generation,
            reason=row.reason,
            config=decode_json(row.config),
            tags=tags.get(row.key, {}),
            environment=decode_json(row.environment),
        )
        for row in rows
    ]


def find_run(connection: Connection, name_or_id: str) -> RunRecord | None:
    """Return the run with that id, else the one with that name, else None."""
    found = _load(connection, _run_rows().where(or_(runs.c.id == name_or_id, runs.c.name == name_or_id)))
    return next((run for run in found if run.id == name_or_id), found[0] if found else None)


def list_runs(
    connection: Connection, *, experiment_id: str | None, status: Collection[RunStatus] | None, limit: int | None
) -> list[RunRecord]:
    """Return runs, the newest first."""
    statement = _run_rows().order_by(runs.c.key.desc()).limit(limit)
    if experiment_id is not None:
        statement = statement.where(experiments.c.id == experiment_id)
    if status is not None:
        statement = statement.where(runs.c.status.in_([RunStatus(one).value for one in status]))
    return _load(connection, statement)


def update_run(
    connection: Connection,
    run_id: str,
    *,
    status: RunStatus | None,
    reason: str | None,
    last_step: int | None,
    ended_at_s: float | None,
    tags: Mapping[str, str],
) -> None:
    """Change what is not None; RUNNING first clears how the run ended."""
    key = run_keys(connection, [run_id])[run_id]
    values: dict[str, object] = {}
    if status is not None:
        values["status"] = RunStatus(status).value
        if status == RunStatus.RUNNING:
            values |= {"ended_at_s": None, "reason": ""}
    given = {"reason": reason, "last_step": last_step, "ended_at_s": ended_at_s}
    values |= {name: value for name, value in given.items() if value is not None}
    if values:
        connection.execute(update(runs).where(runs.c.key == key).values(values))
    merge_tags(connection, run_tags, key, tags)


def run_keys(connection: Connection, run_ids: Collection[str]) -> dict[str, int]:
    """Return the store's key of each run. Raises ``RecordStoreError`` that names those which do not exist."""
    found = {
        row.id: row.key for row in connection.execute(select(runs.c.id, runs.c.key).where(runs.c.id.in_(list(run_ids))))
    }
    missing = sorted(set(run_ids) - set(found))
    if missing:
        raise RecordStoreError(f"there is no run with id {', '.join(map(repr, missing))}: create_run gives the id")
    return found
