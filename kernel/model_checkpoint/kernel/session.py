"""A run while a process works on it: its lock, its metrics, its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace

from model_checkpoint.checkpoint.services import Operation, RunState, Services
from model_checkpoint.common.clock import Stopwatch, now_s
from model_checkpoint.common.numbers import as_metric_value, checked_step
from model_checkpoint.contracts import Analyzer, MetricPoint, RunRecord, RunStatus
from model_checkpoint.errors import CheckpointEngineError, OperationVetoed
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel.identity import RunLock

FLUSH_POINTS = 512
FLUSH_AFTER_S = 1.0
_log = logging.getLogger("model_checkpoint")


class RunSession:
    """One run, held by this process."""

    def __init__(self, services: Services, record: RunRecord, lock: RunLock, analyzer: Analyzer | None) -> None:
        self._services, self._lock = services, lock
        self.state = RunState(record, analyzer)
        self._mutex = threading.RLock()
        self._points: list[MetricPoint] = []
        self._since_flush = Stopwatch()
        self._watch = Stopwatch()
        self.last_step: int | None = record.last_step
        self.ended = False

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
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record metrics: fold them in, remember them for the next save, and buffer them for the record store.

        A point that a hook vetoes is dropped. Raises ``MetricError`` for what is no number, before any is recorded.
        """
        step, epoch = checked_step(step, "step"), checked_step(epoch, "epoch")
        numbers = {name: as_metric_value(name, value) for name, value in values.items()}
        with self._mutex:
            for name, value in numbers.items():
                self._collect(MetricPoint(self.id, name, value, step, now_s(), epoch, dict(tags or {})))
            self.note_step(step)
            if len(self._points) >= FLUSH_POINTS or self._since_flush.elapsed_s > FLUSH_AFTER_S:
                self.flush()

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
            point = replace(point, name=name, value=value, tags=dict(context.get("tags") or {}))
        self.state.pending[point.name] = point.value
        self._points.append(point)
        aggregate = self.state.metrics.observe(point.name, point.value, point.step) if self.state.metrics else None
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
        if step is not None and (self.last_step is None or step > self.last_step):
            self.last_step = step

    def flush(self) -> None:
        """Write buffered points to the record store. On failure they stay buffered for the next try."""
        with self._mutex:
            self._since_flush = Stopwatch()
            if not self._points:
                return
            try:
                self._services.records.append_metrics(self._points)
            except OperationVetoed as veto:
                _log.warning("%d metric points were not recorded: %s", len(self._points), veto)
            self._points = []

    def rewind(self, step: int | None, analyzer: Analyzer | None) -> None:
        """Fold the history up to `step` into a fresh analyzer: what was logged beyond it will be logged again."""
        with self._mutex:
            self.flush()
            self.state.metrics = analyzer
            self.last_step = step
            if analyzer is not None and step is not None:
                for point in self._services.records.read_metrics(self.id, max_step=step):
                    analyzer.observe(point.name, point.value, point.step)

    def end(self, status: RunStatus, reason: str = "") -> None:
        """Flush, record the end, fire the end events and let go of the lock. Ending twice does nothing."""
        if self.ended:
            return
        self.ended = True
        record, operation = self.state.record, Operation(self._services, self.state.record)
        try:
            self.flush()
            self._services.records.update_run(
                record.id, status=status, reason=reason, last_step=self.last_step, ended_at_s=now_s()
            )
            flags = self._services.records.best_flags(record.id)
            best = next((flags[name].checkpoint_id for name in ("val_loss", "loss") if name in flags), None)
            operation.fire(
                HookEvent.ON_RUN_END,
                status=status.value,
                reason=reason,
                last_step=self.last_step,
                duration_s=self._watch.elapsed_s,
                best_checkpoint_id=best,
            )
            operation.fire(
                HookEvent.ON_EXPERIMENT_END,
                status=status.value,
                duration_s=self._watch.elapsed_s,
                best_checkpoint_id=best,
            )
        except CheckpointEngineError as error:
            _log.warning("the end of run %s could not be recorded: %s", record.name, error)
        finally:
            self._lock.release()
