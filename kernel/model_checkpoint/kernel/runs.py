"""Starts a run, or takes up an unfinished one again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from model_checkpoint.checkpoint.environment import environment
from model_checkpoint.checkpoint.services import Operation, Services
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.common.ids import checked_name
from model_checkpoint.contracts import JSON, Analyzer, RunRecord, RunStatus
from model_checkpoint.errors import OperationVetoed, RunInUseError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel.identity import RunLock, stated_run
from model_checkpoint.kernel.session import RunSession

UNFINISHED = (RunStatus.RUNNING, RunStatus.CRASHED, RunStatus.FAILED, RunStatus.PREEMPTED)


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
        tags: Mapping[str, str] | None,
        adopt: bool,
    ) -> RunSession:
        """Return a session. With `adopt`, an unfinished run goes on; a run named outright goes on in any case.

        Raises ``RunInUseError`` where another live process holds the named run, ``OperationVetoed``.
        """
        checked_name(experiment, "an experiment")
        records, operation = self._services.records, Operation(self._services)
        known = records.get_experiment(experiment)
        started = operation.fire(
            HookEvent.ON_EXPERIMENT_START,
            experiment_id=known.id if known else None,
            name=experiment,
            config=config,
            tags=dict(tags or {}),
            parent_id=None,
        )
        tags = started.context.get("tags")
        home = records.ensure_experiment(experiment)
        record, lock = self._find(home.id, stated_run(experiment, run), adopt=adopt)
        resumed_from = None
        if record is None:
            record, lock = self._create(home.id, stated_run(experiment, run), config, tags)
        else:
            newest = records.list_checkpoints(run_id=record.id, limit=1)
            resumed_from = newest[0].id if newest else None
            records.update_run(record.id, status=RunStatus.RUNNING, tags=tags)
        assert lock is not None
        try:
            announced = Operation(self._services, record).fire(
                HookEvent.ON_RUN_START, config=config, tags=dict(tags or {}), resumed_from=resumed_from
            )
        except OperationVetoed as veto:
            records.update_run(record.id, status=RunStatus.FAILED, reason=str(veto))
            lock.release()
            raise
        if announced.context.get("tags") != tags:
            records.update_run(record.id, tags=announced.context.get("tags"))
        return RunSession(self._services, records.get_run(record.id) or record, lock, self._new_analyzer())

    def _find(self, experiment_id: str, named: str | None, *, adopt: bool) -> tuple[RunRecord | None, RunLock | None]:
        records = self._services.records
        if named is not None:
            record = records.get_run(named)
            if record is None:
                return None, None
            lock = RunLock(self._root, record.name, self._fs)
            if not lock.take():
                raise RunInUseError(
                    f"run {record.name!r} is being written by another live process: stop it first, or name another run"
                )
            return record, lock
        chosen: tuple[RunRecord | None, RunLock | None] = (None, None)
        for record in records.list_runs(experiment_id=experiment_id, status=UNFINISHED):
            wanted = adopt and chosen[0] is None
            if not wanted and record.status is not RunStatus.RUNNING:
                continue
            lock = RunLock(self._root, record.name, self._fs)
            if not lock.take():
                continue  # alive in another process
            if wanted:
                chosen = (record, lock)
                continue
            if record.status is RunStatus.RUNNING:  # its process died without a word
                records.update_run(record.id, status=RunStatus.CRASHED, reason="its process ended without a word")
            lock.release()
        return chosen

    def _create(
        self,
        experiment_id: str,
        named: str | None,
        config: Mapping[str, JSON] | None,
        tags: Mapping[str, str] | None,
    ) -> tuple[RunRecord, RunLock]:
        record = self._services.records.create_run(
            experiment_id, name=named, config=config, tags=tags, environment=environment()
        )
        lock = RunLock(self._root, record.name, self._fs)
        if not lock.take():
            raise RunInUseError(f"the lock of the new run {record.name!r} is held by another process in {self._root}")
        return record, lock
