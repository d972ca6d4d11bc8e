"""Starts a run, or takes up an unfinished one again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.checkpoint.details import as_json, checked_tags
from model_checkpoint.checkpoint.environment import environment
from model_checkpoint.checkpoint.services import Operation, Services
from model_checkpoint.common.clock import now_s
from model_checkpoint.common.ids import checked_name
from model_checkpoint.contracts import JSON, Analyzer, RunRecord, RunStatus
from model_checkpoint.errors import CheckpointEngineError, RunInUseError, StorageError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel.identity import LOCK, START_TIMEOUT_S, RunLock, one_at_a_time, stated_run
from model_checkpoint.kernel.session import RunSession

if TYPE_CHECKING:
    from model_checkpoint.common.fsops import FsOps

UNFINISHED = (RunStatus.RUNNING, RunStatus.CRASHED, RunStatus.FAILED, RunStatus.PREEMPTED)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A run whose lock this process holds."""

    record: RunRecord
    lock: RunLock
    is_new: bool


class RunStarter:
    """Gives out run sessions."""

    def __init__(
        self, services: Services, runs_root: Path, fs: FsOps, new_analyzer: Callable[[], Analyzer | None]
    ) -> None:
        self._services, self._root, self._fs, self._new_analyzer = services, runs_root, fs, new_analyzer

    def start(
        self,
        experiment: str,
        *,
        run: str | None,
        config: Mapping[str, JSON] | None,
        tags: object,
        adopt: bool,
    ) -> RunSession:
        """Return a session. With `adopt`, an unfinished run goes on; a run named outright goes on in any case.

        Raises ``RunInUseError`` where another live process holds the named run, ``OperationVetoed``.
        """
        checked_name(experiment, "an experiment")
        named, wanted_tags = stated_run(experiment, run), checked_tags(tags)
        as_json(config or {}, "config")
        records, operation = self._services.records, Operation(self._services)
        known = records.get_experiment(experiment)
        started = operation.fire(
            HookEvent.ON_EXPERIMENT_START,
            experiment_id=known.id if known else None,
            name=experiment,
            config=config,
            tags=wanted_tags,
            parent_id=None,
        )
        wanted_tags = checked_tags(started.context.get("tags"))
        home = records.ensure_experiment(experiment)
        with one_at_a_time(self._root, self._fs):
            taken = self._take_named(home.id, named, config, wanted_tags) if named else None
            taken = taken or self._take_unfinished(home.id, adopt=adopt and named is None)
            taken = taken or self._create(home.id, config, wanted_tags)
        try:
            session = self._announce(taken, config, wanted_tags)
            session.adopts = adopt or named is not None
            return session
        except BaseException as error:
            if taken.is_new:  # one that had a life before stays as it was
                with contextlib.suppress(CheckpointEngineError):
                    records.update_run(taken.record.id, status=RunStatus.FAILED, reason=str(error))
            taken.lock.release()
            raise

    def _announce(self, taken: _Taken, config: Mapping[str, JSON] | None, tags: dict[str, str]) -> RunSession:
        records, record = self._services.records, taken.record
        newest = [] if taken.is_new else records.list_checkpoints(run_id=record.id, limit=1)
        announced = Operation(self._services, record).fire(
            HookEvent.ON_RUN_START, config=config, tags=dict(tags), resumed_from=newest[0].id if newest else None
        )
        final = checked_tags(announced.context.get("tags"))
        if not taken.is_new or final != tags:
            records.update_run(record.id, status=RunStatus.RUNNING, tags=final)
        return RunSession(self._services, records.get_run(record.id) or record, taken.lock, self._new_analyzer())

    def _take_named(
        self, experiment_id: str, name: str, config: Mapping[str, JSON] | None, tags: Mapping[str, str]
    ) -> _Taken:
        record = self._services.records.get_run(name)
        lock = self._lock_of(record.name if record else name, record)
        if lock is None:
            raise RunInUseError(
                f"run {name!r} is being written by another live process: stop it first, or name another run"
            )
        return _Taken(record or self._new_record(experiment_id, name, config, tags), lock, is_new=record is None)

    def _take_unfinished(self, experiment_id: str, *, adopt: bool) -> _Taken | None:
        """Take up the newest unfinished run that no live process holds; mark others whose process died."""
        records, chosen = self._services.records, None
        for record in records.list_runs(experiment_id=experiment_id, status=UNFINISHED):
            wanted = adopt and chosen is None
            if (not wanted and record.status is not RunStatus.RUNNING) or self._is_starting(record):
                continue
            try:
                lock = self._lock_of(record.name, record)
            except StorageError:  # in a directory of somebody else's: not for this process to judge
                continue
            if lock is None:
                continue  # alive in another process
            if wanted:
                chosen = _Taken(record, lock, is_new=False)
                continue
            records.update_run(record.id, status=RunStatus.CRASHED, reason="its process ended without a word")
            lock.release()
        return chosen

    def _create(self, experiment_id: str, config: Mapping[str, JSON] | None, tags: Mapping[str, str]) -> _Taken:
        while True:
            record = self._new_record(experiment_id, None, config, tags)
            lock = self._lock_of(record.name, record)
            if lock is not None:
                return _Taken(record, lock, is_new=True)
            # a process with another record store, but with this checkpoint directory, has a run of that name
            self._services.records.update_run(record.id, status=RunStatus.FAILED, reason="its name was in use")

    def _new_record(
        self, experiment_id: str, name: str | None, config: Mapping[str, JSON] | None, tags: Mapping[str, str]
    ) -> RunRecord:
        return self._services.records.create_run(
            experiment_id,
            name=name,
            config=config,
            tags=tags,
            environment={**environment(), "checkpoint_dir": str(self._root.parent)},
        )

    def _lock_of(self, name: str, record: RunRecord | None) -> RunLock | None:
        """Return the run's lock, taken; None where a live process holds it, here or beside its first checkpoints."""
        home = self._home(record)
        roots = [self._root, home] if home != self._root and os.path.isdir(home / name) else [self._root]
        lock = RunLock(name, roots, self._fs)
        return lock if lock.take() else None

    def _home(self, record: RunRecord | None) -> Path:
        directory = record.environment.get("checkpoint_dir") if record else None
        return Path(directory) / "runs" if isinstance(directory, str) else self._root

    def _is_starting(self, record: RunRecord) -> bool:
        """Whether the run was recorded a moment ago by a process that has not come to lock it."""
        is_new = record.status is RunStatus.RUNNING and now_s() - record.created_at_s < START_TIMEOUT_S
        return is_new and not os.path.exists(self._home(record) / record.name / LOCK)
