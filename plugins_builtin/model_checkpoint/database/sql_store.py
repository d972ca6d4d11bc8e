"""The record store on a SQLAlchemy engine: one transaction a call, and every error of the database a typed one.

What a call does stands in `runs`, `checkpoints`, `series` and `query`; what one database does in its own way (how a
transaction begins, what an error means) is handed in by whoever opens the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from model_checkpoint.contracts import (
    JSON,
    BestFlag,
    CheckpointRecord,
    EventRecord,
    ExperimentRecord,
    Mark,
    MetricPoint,
    RunRecord,
    RunStatus,
)
from model_checkpoint.database import best as ranking
from model_checkpoint.database import checkpoints, marks, runs, series
from model_checkpoint.database.sqlite_version import WriteCounter
from model_checkpoint.database.values import checked_tags
from model_checkpoint.errors import ConfigurationError, RecordStoreError

WRITES = "mce_writes"
"""Execution option of connections whose transaction will write; the opener's ``begin`` event looks at it."""


class SqlRecordStore:
    """A ``RecordStore`` (`model_checkpoint.contracts.records`) on any database that the schema suits.

    `typed` turns an error of SQLAlchemy or of the driver into one of ours, whose message carries neither SQL nor a
    password. `writes` tells whether anybody has written.
    """

    def __init__(
        self, engine: Engine, typed: Callable[[Exception], Exception], writes: WriteCounter | None = None
    ) -> None:
        self._engine, self._typed, self._writes = engine, typed, writes
        self._writer = engine.execution_options(**{WRITES: True})
        self._closed = False
        # What goes wrong while a connection is being prepared comes as the driver raised it.
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, engine.dialect.loaded_dbapi.Error)

    @property
    def url(self) -> str:
        return self._engine.url.render_as_string(hide_password=True).replace("%3Amemory%3A", ":memory:")

    def version(self) -> object:
        return self._writes.version() if self._writes else None

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        if self._closed:
            raise RecordStoreError(f"the record store {self.url} was closed before this call: open it again")
        try:
            with engine.begin() as connection:
                yield connection
        except self._errors as error:
            # The cause is the driver's own error: SQLAlchemy's carries the statement and its values.
            raise self._typed(error) from getattr(error, "orig", None)
        except OverflowError as error:
            raise ConfigurationError("an integer beyond 64 bits can be a metric, but no step, epoch or size") from error

    def _read(self) -> AbstractContextManager[Connection]:
        return self._transaction(self._engine)

    def _write(self) -> AbstractContextManager[Connection]:
        return self._transaction(self._writer)

    def ensure_experiment(self, name: str, *, tags: Mapping[str, str] | None = None) -> ExperimentRecord:
        wanted = checked_tags(tags)
        with self._read() as connection:
            found = runs.find_experiment(connection, name)
        if found is not None and wanted.items() <= found.tags.items():
            return found  # the usual case takes no write lock
        with self._write() as connection:
            runs.ensure_experiment(connection, name, wanted)
            found = runs.find_experiment(connection, name)
        assert found is not None
        return found

    def get_experiment(self, name: str) -> ExperimentRecord | None:
        with self._read() as connection:
            return runs.find_experiment(connection, name)

    def create_run(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        config: Mapping[str, JSON] | None = None,
        tags: Mapping[str, str] | None = None,
        environment: Mapping[str, JSON] | None = None,
    ) -> RunRecord:
        wanted = checked_tags(tags)
        with self._write() as connection:
            return runs.create_run(
                connection,
                experiment_id,
                name=name,
                config=config or {},
                tags=wanted,
                environment=environment or {},
            )

    def get_run(self, name_or_id: str) -> RunRecord | None:
        with self._read() as connection:
            return runs.find_run(connection, name_or_id)

    def list_runs(
        self,
        *,
        experiment_id: str | None = None,
        status: Collection[RunStatus] | None = None,
        limit: int | None = None,
    ) -> list[RunRecord]:
        _check_limit(limit)
        with self._read() as connection:
            return runs.list_runs(connection, experiment_id=experiment_id, status=status, limit=limit)

    def update_run(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        reason: str | None = None,
        last_step: int | None = None,
        ended_at_s: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        wanted = checked_tags(tags)
        with self._write() as connection:
            runs.update_run(
                connection,
                run_id,
                status=status,
                reason=reason,
                last_step=last_step,
                ended_at_s=ended_at_s,
                tags=wanted,
            )

    def commit_checkpoint(
        self, record: CheckpointRecord, *, best: Sequence[BestFlag], expected_generation: int
    ) -> CheckpointRecord:
        with self._write() as connection:
            return checkpoints.commit_checkpoint(connection, record, best, expected_generation)

    def get_checkpoint(self, checkpoint_id: str) -> CheckpointRecord | None:
        with self._read() as connection:
            return checkpoints.find_checkpoint(connection, checkpoint_id)

    def list_checkpoints(
        self,
        *,
        run_id: str | None = None,
        experiment_id: str | None = None,
        tag: str | None = None,
        include_damaged: bool = True,
        limit: int | None = None,
    ) -> list[CheckpointRecord]:
        _check_limit(limit)
        if tag is not None and not isinstance(tag, str):
            raise ConfigurationError(f"a tag is a string, not {tag!r}")
        with self._read() as connection:
            return checkpoints.list_checkpoints(
                connection,
                run_id=run_id,
                experiment_id=experiment_id,
                tag=tag,
                include_damaged=include_damaged,
                limit=limit,
            )

    def best_flags(self, run_id: str) -> dict[str, BestFlag]:
        with self._read() as connection:
            return ranking.best_flags_of(connection, run_id)

    def best_checkpoint(
        self, *, metric: str, mode: str, run_id: str | None = None, experiment_id: str | None = None
    ) -> CheckpointRecord | None:
        with self._read() as connection:
            return ranking.best_checkpoint(
                connection, metric=metric, mode=mode, run_id=run_id, experiment_id=experiment_id
            )

    def mark_damaged(self, checkpoint_id: str, damage: str) -> None:
        with self._write() as connection:
            checkpoints.mark_damaged(connection, checkpoint_id, damage)

    def mark(self, mark: Mark) -> None:
        with self._write() as connection:
            marks.apply_mark(connection, mark)

    def find_alias(self, name: str, *, experiment_id: str | None = None) -> CheckpointRecord | None:
        with self._read() as connection:
            return marks.find_alias(connection, name, experiment_id)

    def restore_checkpoint(
        self, record: CheckpointRecord, *, run: RunRecord, best: Sequence[BestFlag]
    ) -> CheckpointRecord:
        with self._write() as connection:
            return checkpoints.restore_checkpoint(connection, record, run, best)

    def delete_checkpoint(self, checkpoint_id: str) -> None:
        with self._write() as connection:
            checkpoints.delete_checkpoint(connection, checkpoint_id)

    def append_metrics(self, points: Sequence[MetricPoint]) -> None:
        if points:
            with self._write() as connection:
                series.append_metrics(connection, points)

    def read_metrics(self, run_id: str, *, name: str | None = None, max_step: int | None = None) -> list[MetricPoint]:
        with self._read() as connection:
            return series.read_metrics(connection, run_id, name=name, max_step=max_step)

    def append_event(self, event: EventRecord) -> None:
        with self._write() as connection:
            series.append_event(connection, event)

    def read_events(self, *, run_id: str | None = None) -> list[EventRecord]:
        with self._read() as connection:
            return series.read_events(connection, run_id=run_id)

    def query_checkpoints(self, query: str, *, limit: int | None = None) -> list[CheckpointRecord]:
        from model_checkpoint.database.checkpoint_rows import load_checkpoints
        from model_checkpoint.database.query.compile import compile_checkpoints
        from model_checkpoint.database.query.parse import parse

        _check_limit(limit)
        statement = compile_checkpoints(parse(query), self._engine.dialect.name, query)
        with self._read() as connection:
            return load_checkpoints(connection, statement.limit(limit))

    def close(self) -> None:
        self._closed = True
        self._engine.dispose()
        if self._writes is not None:
            self._writes.close()


def _check_limit(limit: int | None) -> None:
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ConfigurationError(f"a limit is an int of 0 or more, or None for all; {limit!r} was given")
