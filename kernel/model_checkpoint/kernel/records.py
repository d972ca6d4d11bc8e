"""Stands in front of the record store and lets hooks see every write before its transaction begins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.common.ids import random_id
from model_checkpoint.errors import StaleGenerationError
from model_checkpoint.hooks import HookEvent, HookManager

if TYPE_CHECKING:
    from model_checkpoint.contracts import (
        JSON,
        BestFlag,
        CheckpointRecord,
        EventRecord,
        ExperimentRecord,
        Mark,
        MetricPoint,
        RecordStore,
        RunRecord,
        RunStatus,
    )

T = TypeVar("T")


class HookedRecords:
    """A record store whose writes fire ``before_db_write``, ``after_db_write`` and ``on_db_error``."""

    def __init__(self, store: RecordStore, hooks: HookManager) -> None:
        self._store, self._hooks = store, hooks

    def _write(self, table: str, operation: str, rows: Sequence[object], call: Callable[[], T]) -> T:
        shared: dict[str, object] = {"operation_id": random_id(), "user_data": {}}
        if self._hooks.live(HookEvent.BEFORE_DB_WRITE):
            self._hooks.fire(HookEvent.BEFORE_DB_WRITE, table=table, operation=operation, rows=rows, **shared)
        watch = Stopwatch()
        try:
            result = call()
        except Exception as error:  # a full disk is no RecordStoreError, and what was announced must end
            retried = isinstance(error, StaleGenerationError)
            self._hooks.fire(
                HookEvent.ON_DB_ERROR,
                operation=f"{operation} {table}",
                error=error,
                attempt=1,
                will_retry=retried,
                **shared,
            )
            raise
        if self._hooks.live(HookEvent.AFTER_DB_WRITE):
            self._hooks.fire(
                HookEvent.AFTER_DB_WRITE,
                table=table,
                operation=operation,
                row_count=len(rows),
                duration_s=watch.elapsed_s,
                **shared,
            )
        return result

    @property
    def url(self) -> str:
        return self._store.url

    def cache_counts(self) -> dict[str, int]:
        """Return how many answers came from memory (``hits``) and from the store (``misses``)."""
        counts = getattr(self._store, "counts", None)
        return counts() if counts else {"hits": 0, "misses": 0}

    def ensure_experiment(self, name: str, *, tags: Mapping[str, str] | None = None) -> ExperimentRecord:
        return self._write("experiments", "ensure", [name], lambda: self._store.ensure_experiment(name, tags=tags))

    def get_experiment(self, name: str) -> ExperimentRecord | None:
        return self._store.get_experiment(name)

    def create_run(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        config: Mapping[str, JSON] | None = None,
        tags: Mapping[str, str] | None = None,
        environment: Mapping[str, JSON] | None = None,
    ) -> RunRecord:
        return self._write(
            "runs",
            "insert",
            [name],
            lambda: self._store.create_run(experiment_id, name=name, config=config, tags=tags, environment=environment),
        )

    def get_run(self, name_or_id: str) -> RunRecord | None:
        return self._store.get_run(name_or_id)

    def list_runs(
        self,
        *,
        experiment_id: str | None = None,
        status: Collection[RunStatus] | None = None,
        limit: int | None = None,
    ) -> list[RunRecord]:
        return self._store.list_runs(experiment_id=experiment_id, status=status, limit=limit)

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
        self._write(
            "runs",
            "update",
            [run_id],
            lambda: self._store.update_run(
                run_id, status=status, reason=reason, last_step=last_step, ended_at_s=ended_at_s, tags=tags
            ),
        )

    def commit_checkpoint(
        self, record: CheckpointRecord, *, best: Sequence[BestFlag], expected_generation: int
    ) -> CheckpointRecord:
        return self._write(
            "checkpoints",
            "insert",
            [record],
            lambda: self._store.commit_checkpoint(record, best=best, expected_generation=expected_generation),
        )

    def get_checkpoint(self, checkpoint_id: str) -> CheckpointRecord | None:
        return self._store.get_checkpoint(checkpoint_id)

    def list_checkpoints(
        self,
        *,
        run_id: str | None = None,
        experiment_id: str | None = None,
        tag: str | None = None,
        include_damaged: bool = True,
        limit: int | None = None,
    ) -> list[CheckpointRecord]:
        return self._store.list_checkpoints(
            run_id=run_id, experiment_id=experiment_id, tag=tag, include_damaged=include_damaged, limit=limit
        )

    def best_flags(self, run_id: str) -> dict[str, BestFlag]:
        return self._store.best_flags(run_id)

    def best_checkpoint(
        self, *, metric: str, mode: str, run_id: str | None = None, experiment_id: str | None = None
    ) -> CheckpointRecord | None:
        return self._store.best_checkpoint(metric=metric, mode=mode, run_id=run_id, experiment_id=experiment_id)

    def mark_damaged(self, checkpoint_id: str, damage: str) -> None:
        self._write("checkpoints", "mark", [checkpoint_id], lambda: self._store.mark_damaged(checkpoint_id, damage))

    def mark(self, mark: Mark) -> None:
        self._write("checkpoints", "mark", [mark], lambda: self._store.mark(mark))

    def find_alias(self, name: str, *, experiment_id: str | None = None) -> CheckpointRecord | None:
        return self._store.find_alias(name, experiment_id=experiment_id)

    def restore_checkpoint(
        self, record: CheckpointRecord, *, run: RunRecord, best: Sequence[BestFlag]
    ) -> CheckpointRecord:
        return self._write(
            "checkpoints",
            "restore",
            [record],
            lambda: self._store.restore_checkpoint(record, run=run, best=best),
        )

    def delete_checkpoint(self, checkpoint_id: str) -> None:
        self._write("checkpoints", "delete", [checkpoint_id], lambda: self._store.delete_checkpoint(checkpoint_id))

    def append_metrics(self, points: Sequence[MetricPoint]) -> None:
        self._write("metrics", "insert", points, lambda: self._store.append_metrics(points))

    def read_metrics(self, run_id: str, *, name: str | None = None, max_step: int | None = None) -> list[MetricPoint]:
        return self._store.read_metrics(run_id, name=name, max_step=max_step)

    def append_event(self, event: EventRecord) -> None:
        self._write("events", "insert", [event], lambda: self._store.append_event(event))

    def read_events(self, *, run_id: str | None = None) -> list[EventRecord]:
        return self._store.read_events(run_id=run_id)

    def query_checkpoints(self, query: str, *, limit: int | None = None) -> list[CheckpointRecord]:
        return self._store.query_checkpoints(query, limit=limit)

    def close(self) -> None:
        self._store.close()
