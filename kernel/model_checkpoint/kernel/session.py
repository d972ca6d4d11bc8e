"""A run while a process works on it: its lock, its metrics, its end."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from model_checkpoint.checkpoint.details import checked_tags
from model_checkpoint.checkpoint.services import Operation, RunState, Services
from model_checkpoint.common.clock import Stopwatch, now_s
from model_checkpoint.common.numbers import as_metric_value, checked_step
from model_checkpoint.contracts import Analyzer, CheckpointRecord, MetricPoint, RunRecord, RunStatus
from model_checkpoint.errors import CheckpointEngineError, MetricError, OperationVetoed
from model_checkpoint.hooks import HookEvent

if TYPE_CHECKING:
    from model_checkpoint.kernel.identity import RunLock

FLUSH_POINTS = 512
FLUSH_AFTER_S = 1.0
MAX_POINTS = 100_000
"""How many points wait for a record store that refuses them before `RunSession.log` raises what it says."""
_log = logging.getLogger("model_checkpoint")
T = TypeVar("T")


class RunSession:
    """One run, held by this process. Safe to use from several threads."""

    def __init__(self, services: Services, record: RunRecord, lock: RunLock, analyzer: Analyzer | None) -> None:
        self._services, self._lock = services, lock
        self.state = RunState(record, analyzer)
        self._points: list[MetricPoint] = []
        self.last_step: int | None = record.last_step
        self.ended = self._ending = False
        self.adopts = False
        """Whether it was begun to go on with an earlier one."""
        self._watch = Stopwatch()
        self.begin_buffer()
        _sessions.add(self)

    def begin_buffer(self) -> None:
        """Start with no points and with locks that nobody holds."""
        self._points.clear()
        self.state.lock = threading.Lock()
        self._mutex = threading.Lock()  # never held over a hook or a write
        self._writing = threading.RLock()  # one flush at a time, so that points are written in their order
        self._since_flush = Stopwatch()

    @property
    def id(self) -> str:
        """The run's id."""
        return self.state.record.id

    @property
    def name(self) -> str:
        """The run's readable name, such as ``digits-7``."""
        return self.state.record.name

    def log(
        self,
        values: Mapping[str, object],
        *,
        step: object = None,
        epoch: object = None,
        tags: object = None,
    ) -> None:
        """Record metrics: fold them in, remember them for the next save, and buffer them for the record store.

        A point that a hook vetoes is dropped. Raises ``MetricError`` for what is no number and ``ConfigurationError``
        for tags that are no strings, before any is recorded. A record store that is busy or full is a warning until
        `MAX_POINTS` wait for it.
        """
        step, epoch, labels = checked_step(step, "step"), checked_step(epoch, "epoch"), checked_tags(tags)
        if not isinstance(values, Mapping):
            raise MetricError(f"metrics are a mapping of names to numbers, not a {type(values).__name__}")
        numbers = {name: as_metric_value(name, value) for name, value in values.items()}
        for name, value in numbers.items():
            self._collect(MetricPoint(self.id, name, value, step, now_s(), epoch, labels))
        self.note_step(step)
        if len(self._points) >= FLUSH_POINTS or self._since_flush.elapsed_s > FLUSH_AFTER_S:
            self.try_flush()

    def _collect(self, point: MetricPoint) -> None:
        hooks, operation = self._services.hooks, None
        if hooks.live(HookEvent.BEFORE_METRIC_COLLECTION):
            operation = Operation(self._services, self.state.record)
            try:
                context = operation.fire(
                    HookEvent.BEFORE_METRIC_COLLECTION,
                    metric_name=point.name,
                    value=point.value,
                    step=point.step,
                    epoch=point.epoch,
                    timestamp=point.time_s,
                    tags=dict(point.tags),
                ).context
            except OperationVetoed as veto:
                _log.debug("metric %s at step %s was dropped: %s", point.name, point.step, veto.reason)
                return
            name = context.get("metric_name")
            value = as_metric_value(name, context.get("value"))
            point = replace(point, name=name, value=value, tags=checked_tags(context.get("tags")))
        with self._mutex:
            self._points.append(point)
            self.state.note(point.name, point.value)
            metrics = self.state.metrics
            aggregate = metrics.observe(point.name, point.value, point.step) if metrics else None
        if hooks.live(HookEvent.AFTER_METRIC_COLLECTION):
            (operation or Operation(self._services, self.state.record)).fire(
                HookEvent.AFTER_METRIC_COLLECTION,
                metric_name=point.name,
                value=point.value,
                step=point.step,
                epoch=point.epoch,
                timestamp=point.time_s,
                aggregate=aggregate,
            )

    def note_step(self, step: int | None) -> None:
        """Remember how far the run has come."""
        with self._mutex:
            if step is not None and (self.last_step is None or step > self.last_step):
                self.last_step = step

    def flush(self) -> None:
        """Write buffered points to the record store. On failure they stay buffered for the next try."""
        with self._writing:
            self._since_flush = Stopwatch()
            with self._mutex:
                batch = list(self._points)
            if not batch:
                return
            try:
                self._services.records.append_metrics(batch)
            except OperationVetoed as veto:
                _log.warning("%d metric points were not recorded: %s", len(batch), veto)
            with self._mutex:
                del self._points[: len(batch)]

    def try_flush(self) -> None:
        """Flush, unless another thread is at it. A failure is a warning until too many points wait."""
        if not self._writing.acquire(blocking=False):
            return
        try:
            self.flush()
        except CheckpointEngineError as error:
            if len(self._points) >= MAX_POINTS:
                raise
            _log.warning("%d metric points of run %s wait to be recorded: %s", len(self._points), self.name, error)
        finally:
            self._writing.release()

    def rewind(self, record: CheckpointRecord | None, analyzer: Analyzer | None) -> None:
        """Fold the history up to a checkpoint into a fresh analyzer: what was logged beyond it will be logged again.

        Without a record everything begins anew.
        """
        self.flush()
        kept = self._up_to(record) if record is not None else []
        with self._mutex:
            for point in kept:
                if analyzer is not None:
                    analyzer.observe(point.name, point.value, point.step)
            steps = [point.step for point in kept if point.step is not None]
            self.state.metrics = analyzer
            self.last_step = record.step if record and record.step is not None else max(steps, default=None)

    def _up_to(self, record: CheckpointRecord) -> list[MetricPoint]:
        """Points up to the checkpoint's step; one saved without a step counts as saved at the last step logged then."""
        points, step = self._services.records.read_metrics(self.id, max_step=record.step), record.step
        if step is None:
            before = [p for p in points if p.step is not None and p.time_s <= record.created_at_s]
            step = max(before, key=lambda point: point.time_s).step if before else -1

        def counts(point: MetricPoint) -> bool:
            return point.time_s <= record.created_at_s if point.step is None else point.step <= (step or 0)

        return [point for point in points if counts(point)]

    def end(self, status: RunStatus, reason: str = "") -> None:
        """Flush, record the end, fire the end events and let go of the lock. Ending twice does nothing.

        What a hook still logs or saves when it hears of the end belongs to the run.
        """
        if self._ending:
            return
        self._ending = True
        try:
            self._try("its last metrics could not be recorded", self.flush)
            self._try("its end could not be recorded", lambda: self._record_end(status, reason))
            self._tell_end(status, reason)
            self._try("its last metrics could not be recorded", self.flush)
        finally:
            self.ended = True
            self._lock.release()

    def _record_end(self, status: RunStatus, reason: str) -> None:
        self._services.records.update_run(
            self.id, status=status, reason=reason, last_step=self.last_step, ended_at_s=now_s()
        )

    def _tell_end(self, status: RunStatus, reason: str) -> None:
        operation, duration_s = Operation(self._services, self.state.record), self._watch.elapsed_s
        flags = self._try("its best checkpoint is unknown", lambda: self._services.records.best_flags(self.id)) or {}
        best = next((flags[name].checkpoint_id for name in ("val_loss", "loss") if name in flags), None)
        operation.fire(
            HookEvent.ON_RUN_END,
            status=status.value,
            reason=reason,
            last_step=self.last_step,
            duration_s=duration_s,
            best_checkpoint_id=best,
        )
        operation.fire(HookEvent.ON_EXPERIMENT_END, status=status.value, duration_s=duration_s, best_checkpoint_id=best)

    def _try(self, lack: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except CheckpointEngineError as error:
            _log.warning("run %s ends, and %s: %s", self.name, lack, error)
            return None


_sessions: weakref.WeakSet[RunSession] = weakref.WeakSet()


def _start_anew() -> None:
    """A forked child writes none of its parent's points, and waits for none of its threads."""
    for session in list(_sessions):
        session.begin_buffer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
