"""A run in one object: manager, collector and tracker."""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.contracts import JSON, CheckpointRecord, MetricAggregate, RunStatus
from model_checkpoint.errors import ConfigurationError, KernelError, MetricError
from model_checkpoint.kernel import Kernel

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.report import LoadReport, ResumeReport
    from model_checkpoint.contracts import CanBegin, Decision, SaveCadence, SaveDecision


def start(
    experiment: str,
    *,
    config: Mapping[str, JSON] | None = None,
    tags: Iterable[str] | Mapping[str, str] | None = None,
    keep: str | None = None,
    save: str | SaveDecision | None = None,
    run: str | None = None,
    database_url: str | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    storage_backend: str | None = None,
    register: Iterable[object] = (),
    metric_modes: Mapping[str, str] | None = None,
    quiet: bool | None = None,
) -> Run:
    """Open a kernel for a training script and return its run.

    The run itself begins with the first `Run.resume`, `Run.log` or `Run.save`. It ends when the script does: finished,
    or failed or preempted where an exception or Ctrl-C ended it; unfinished runs are what `Run.resume` takes up.

    Args:
        experiment: name of the series of runs.
        config: the training's settings, kept with the run; JSON.
        keep: what to keep, such as ``last:3 + best:3``. This version keeps every checkpoint, and warns.
        save: when `Run.should_save` says yes, such as ``every:500steps | improved:val_loss | on-signal``.
        run: name of the run, instead of ``MCE_RUN`` or the job scheduler's id.
        register: objects with hooks.
        database_url, checkpoint_dir, storage_backend, metric_modes, quiet: as in ``Kernel.open``.
    """
    if keep is not None:
        warnings.warn(
            f"keep={keep!r}: retention policies are not part of this version; every checkpoint is kept", stacklevel=2
        )
    kernel = Kernel.open(
        database_url,
        checkpoint_dir=checkpoint_dir,
        storage_backend=storage_backend,
        register=register,
        metric_modes=metric_modes,
        quiet=quiet,
    )
    try:
        return Run(kernel, experiment, run=run, config=config, tags=tags, save=save)
    except BaseException:
        kernel.close()
        raise


class Run:
    """One training. Made by `start`."""

    def __init__(
        self,
        kernel: Kernel,
        experiment: str,
        *,
        run: str | None = None,
        config: Mapping[str, JSON] | None = None,
        tags: Iterable[str] | Mapping[str, str] | None = None,
        save: str | SaveDecision | None = None,
    ) -> None:
        self.kernel = kernel
        self.manager = EnhancedCheckpointManager(
            kernel=kernel, experiment=experiment, run=run, config=config, tags=tags
        )
        self._objects: dict[str, Any] = {}
        self._cadence: SaveCadence | None = _begun_cadence(kernel, save) if save is not None else None
        self._urgent = self._preempted = False
        self._step: int | None = None

    @property
    def name(self) -> str:
        """The run's name, such as ``digits-7``; a run that has not begun begins now."""
        return self.kernel.current_run().name if self.kernel.active_run else self._begun().name

    def _begun(self) -> Any:
        self.manager.begin_run()
        return self.kernel.current_run()

    def resume(self, **objects: Any) -> ResumeReport:
        """Go on where the newest unfinished run of this experiment stood, bit for bit.

        Restores the objects in place, then all random streams, from the newest checkpoint that verifies; remembers the
        objects for `save`. Takes modules, optimizers, schedulers, a ``ResumableLoader``, anything with ``state_dict()``
        and ``load_state_dict()``, and plain dicts, which are filled in place. The report is falsy for a fresh start;
        ``next_epoch`` is the first epoch with work left, and the loader hands out the batches that remain of it.

        Raises ``KernelError`` after the first save or log, ``NothingToResumeError``, ``StateMismatchError``.
        """
        if all(obj is None for obj in objects.values()):
            raise ConfigurationError("give resume() the objects of the training: model=..., optimizer=..., loader=...")
        if self.kernel.active_run is not None:
            raise KernelError("call resume() before the first save() or log(): the run has begun already")
        self._objects = objects
        report = self.manager.resume(**objects)
        if report and self._cadence is not None:
            saved = [record.metrics for record in self.checkpoints() if not record.damage]
            self._cadence.resumed(
                step=report.step, epoch=report.next_epoch - 1 if report.next_epoch else None, saved=saved
            )
        return report

    def should_save(
        self,
        *,
        step: int | None = None,
        epoch: int | None = None,
        metrics: Mapping[str, object] | None = None,
        last: bool = False,
    ) -> Decision:
        """Say whether to save now, as ``start(save=...)`` decides; true where it is yes, and then save.

        `epoch` is given where one has ended with this step, and not within one; `last` where the training ends here.
        After a yes that is urgent, the next `save` waits until it is durable. Raises ``ConfigurationError`` where
        nothing decides, ``MetricError``.
        """
        if self._cadence is None:
            raise ConfigurationError('nobody decides when to save: mc.start(..., save="every:500steps | on-signal")')
        decision = self._cadence.should_save(step=step, epoch=epoch, metrics=metrics, last=last)
        self._urgent = self._urgent or decision.urgent
        self._step = step if step is not None else self._step
        return decision

    @property
    def should_stop(self) -> bool:
        """Whether the training is to end here: a signal told it to, and `should_save` has said yes since.

        The run then ends as preempted, unless `finish` says otherwise, and is taken up by the next `resume`.
        """
        if self._cadence is not None and self._cadence.should_stop and not self._preempted:
            self._preempted = True
            atexit.register(self.finish)  # before the kernel ends what is open as finished
        return self._preempted

    def save(
        self,
        *,
        epoch: int | None = None,
        step: int | None = None,
        loss: object = None,
        val_loss: object = None,
        metrics: Mapping[str, object] | None = None,
        tags: Iterable[str] | Mapping[str, str] = (),
        metadata: Mapping[str, JSON] | None = None,
        wait: bool = True,
        **objects: Any,
    ) -> str | None:
        """Save the remembered objects, updated by those given here; return the checkpoint's id, None if vetoed.

        With ``wait=False`` it returns as soon as the state is copied; a failure is raised by the next call.
        """
        given = {**self._objects, **objects}
        kept, watch = dict(given), Stopwatch()
        saved = self.manager.save_checkpoint(
            given.pop("model", None),
            given.pop("optimizer", None),
            given.pop("scheduler", None),
            state=given,
            epoch=epoch,
            step=step,
            loss=loss,
            val_loss=val_loss,
            metrics=metrics,
            tags=tags,
            metadata=metadata,
            wait=wait or self._urgent,
        )
        self._objects, self._urgent = kept, False  # now that it could be saved
        if self._cadence is not None and saved is not None:
            self._cadence.saved(step=step, epoch=epoch, stall_s=watch.elapsed_s)
        return saved

    def log(
        self,
        values: Mapping[str, object] | None = None,
        *,
        step: int | None = None,
        epoch: int | None = None,
        **metrics: object,
    ) -> None:
        """Record metrics, by name or as a mapping. The last value of each goes into the next checkpoint."""
        if values is not None and not isinstance(values, Mapping):
            raise MetricError(f"log() takes metrics by name or as a mapping, not a {type(values).__name__}")
        self._begun()
        if self._cadence is not None:
            self._cadence.note({**(values or {}), **metrics})
        self.kernel.log_metrics({**(values or {}), **metrics}, step=step, epoch=epoch)

    def load(
        self,
        which: str = "latest",
        *,
        into: Mapping[str, object] | None = None,
        strict: bool | str = True,
        verify: str | None = None,
    ) -> LoadReport:
        """Load one of the run's checkpoints; see ``Kernel.load``."""
        return self.kernel.load(which, into=into, strict=strict, verify=verify)

    def best(self, metric: str = "val_loss", mode: str | None = None) -> CheckpointRecord | None:
        """Return the run's best checkpoint by a metric, or None."""
        return self.kernel.best(metric, mode)

    def checkpoints(self) -> list[CheckpointRecord]:
        """Return the run's checkpoints, the oldest first."""
        return self.manager.list_checkpoints()[::-1]

    def metrics(self) -> dict[str, MetricAggregate]:
        """Return what is known of every metric so far."""
        return self.kernel.aggregated_metrics()

    def finish(self, status: RunStatus | str | None = None, reason: str = "") -> None:
        """End the run and close its kernel. Happens by itself when the script ends.

        `status` is finished, failed, crashed or preempted; without one it is finished, or preempted where `should_stop`
        was true. Raises ``ConfigurationError`` for anything else.
        """
        status = status or (RunStatus.PREEMPTED if self._preempted else RunStatus.FINISHED)
        ends = [each.value for each in RunStatus if each is not RunStatus.RUNNING]
        if status not in ends:
            raise ConfigurationError(f"status={status!r} is no end of a run: use {', '.join(ends)}")
        atexit.unregister(self.finish)
        self._end_cadence()
        self.kernel.close(status=RunStatus(status), reason=reason)

    def _end_cadence(self, error: BaseException | None = None) -> None:
        """Save what there is where the decision wants that of an exception, and give back what it took."""
        if self._cadence is None:
            return
        cadence, self._cadence = self._cadence, None
        failed = error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0))
        if error is not None and failed and self._objects and cadence.should_save(error=error):
            try:
                self.save(step=self._step, tags=["on-exception"])
            except Exception as another:  # the one that ends the training is the one to raise
                error.add_note(f"What there was could not be saved: {type(another).__name__}: {another}")
        cadence.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._preempted and error is None:
            return self.finish()
        self._end_cadence(error)
        self.kernel.__exit__(kind, error, trace)
        return None


def _begun_cadence(kernel: Kernel, save: str | SaveDecision) -> SaveCadence:
    """Return what is asked when to save; a decision that brings no cadence is read by its text."""
    decision: Any = save
    if not hasattr(decision, "begin"):
        expression = cast("Any", kernel.plugins.provided.others["register_save_decisions"].get("expression"))
        if expression is None:
            raise KernelError(f"save={str(save)!r} cannot be read: the plugin cadence is not loaded")
        decision = expression.create(str(save))
    return cast("CanBegin", decision).begin(kernel)
