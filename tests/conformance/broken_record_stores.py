"""For each rule of the contract a store that breaks this one alone: the real SQLite store, with one thing wrong."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from model_checkpoint.contracts import CheckpointRecord, RecordStore
from model_checkpoint.database.sqlite_open import open_store
from model_checkpoint.errors import (
    CheckpointExistsError,
    ConfigurationError,
    MetricError,
    QuerySyntaxError,
    RecordStoreError,
    SchemaVersionError,
)


class Whole:
    """The real store behind a door that the others leave ajar."""

    def __init__(self, url: str) -> None:
        self.inner = open_store(url)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


class RoundsIntegers(Whole):
    def get_checkpoint(self, checkpoint_id):
        found = self.inner.get_checkpoint(checkpoint_id)
        if found is None:
            return None
        rounded = {name: float(value) if abs(value) < 1e300 else value for name, value in found.metrics.items()}
        return replace(found, metrics=rounded)


class NamesRunsAtRandom(Whole):
    def create_run(self, experiment_id, *, name=None, **fields):
        return self.inner.create_run(experiment_id, name=name or secrets.token_hex(8), **fields)


class KeepsHalfOfAFailedCommit(Whole):
    def commit_checkpoint(self, record, *, best, expected_generation):
        try:
            return self.inner.commit_checkpoint(record, best=best, expected_generation=expected_generation)
        except (ConfigurationError, MetricError):
            bare = replace(record, metrics={}, tags={})
            self.inner.commit_checkpoint(bare, best=[], expected_generation=expected_generation)
            raise


class IgnoresTheGeneration(Whole):
    def commit_checkpoint(self, record, *, best, expected_generation):
        current = self.inner.get_run(record.run_id).generation
        return self.inner.commit_checkpoint(record, best=best, expected_generation=current)


class OverwritesACheckpoint(Whole):
    def commit_checkpoint(self, record, *, best, expected_generation):
        try:
            return self.inner.commit_checkpoint(record, best=best, expected_generation=expected_generation)
        except CheckpointExistsError:
            self.inner.delete_checkpoint(record.id)
            self.inner.commit_checkpoint(record, best=best, expected_generation=expected_generation)
            raise


class ListsByTheClock(Whole):
    def list_checkpoints(self, *, limit=None, **where):
        found = self.inner.list_checkpoints(**where)
        if len({record.created_at_s for record in found}) > 1:
            found.sort(key=lambda record: -record.created_at_s)
        return found[:limit]


class RanksInfinities(Whole):
    def best_checkpoint(self, *, metric, mode, run_id=None, experiment_id=None) -> CheckpointRecord | None:
        found = self.inner.list_checkpoints(run_id=run_id, experiment_id=experiment_id, include_damaged=False)
        ranked = [record for record in reversed(found) if not math.isnan(record.metrics.get(metric, math.nan))]
        choose = min if mode == "min" else max
        return choose(ranked, key=lambda record: record.metrics[metric], default=None)


class ReadsPointsBackwards(Whole):
    def read_metrics(self, run_id, **where):
        return self.inner.read_metrics(run_id, **where)[::-1]


class LeavesFlagsBehind(Whole):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.left: dict[str, object] = {}

    def delete_checkpoint(self, checkpoint_id):
        record = self.inner.get_checkpoint(checkpoint_id)
        if record is not None:
            self.left |= self.inner.best_flags(record.run_id)
        self.inner.delete_checkpoint(checkpoint_id)

    def best_flags(self, run_id):
        return self.inner.best_flags(run_id) | self.left


class AnswersNonsenseWithNothing(Whole):
    def query_checkpoints(self, query, *, limit=None):
        try:
            return self.inner.query_checkpoints(query, limit=limit)
        except QuerySyntaxError:
            return []


class OpensWhatItDoesNotKnow(Whole):
    def __init__(self, url: str) -> None:
        try:
            super().__init__(url)
        except SchemaVersionError:
            super().__init__("sqlite:///:memory:")


class BelongsToOneThread(Whole):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.taken = threading.Lock()

    def commit_checkpoint(self, record, *, best, expected_generation):
        if not self.taken.acquire(blocking=False):
            raise RecordStoreError("in use by another thread")
        try:
            time.sleep(0.002)
            return self.inner.commit_checkpoint(record, best=best, expected_generation=expected_generation)
        finally:
            self.taken.release()


class NeverTakesAMarkBack(Whole):
    def mark(self, mark):
        if mark.value is not None:
            self.inner.mark(mark)


class NumbersWhatComesBackAnew(Whole):
    def restore_checkpoint(self, record, *, run, best):
        found = self.inner.restore_checkpoint(replace(record, sequence=record.sequence + 1), run=run, best=best)
        return replace(found, sequence=record.sequence)


class CountsItsOwnWritesOnly(Whole):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.writes = 0

    def version(self):
        return self.writes

    def __getattr__(self, name: str) -> object:
        if name in ("ensure_experiment", "create_run", "commit_checkpoint", "mark"):
            self.writes += 1
        return super().__getattr__(name)


BROKEN: dict[int, Callable[[str], RecordStore]] = {
    1: RoundsIntegers,
    2: NamesRunsAtRandom,
    3: KeepsHalfOfAFailedCommit,
    4: IgnoresTheGeneration,
    5: OverwritesACheckpoint,
    6: ListsByTheClock,
    7: RanksInfinities,
    8: ReadsPointsBackwards,
    9: LeavesFlagsBehind,
    10: AnswersNonsenseWithNothing,
    11: OpensWhatItDoesNotKnow,
    12: BelongsToOneThread,
    13: NeverTakesAMarkBack,
    14: NumbersWhatComesBackAnew,
    15: CountsItsOwnWritesOnly,
}
