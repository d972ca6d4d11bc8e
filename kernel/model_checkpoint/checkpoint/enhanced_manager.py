"""The facade for training scripts: save, load, rank and verify checkpoints with one object.

>>> manager = EnhancedCheckpointManager(storage_backend="memory", database_url="sqlite:///:memory:", quiet=True)
>>> checkpoint_id = manager.save_checkpoint(state={"weights": [0.5]}, epoch=0, val_loss=0.3)
>>> manager.is_best_checkpoint(checkpoint_id)
True
>>> manager.load_checkpoint("latest")["weights"]
[0.5]
>>> manager.close()
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from model_checkpoint.checkpoint.ranking import primary_metric
from model_checkpoint.errors import ConfigurationError, KernelError, OperationVetoed
from model_checkpoint.hooks import HookEvent, HookManager, HookPriority
from model_checkpoint.kernel import Kernel

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.report import LoadReport, ResumeReport
    from model_checkpoint.contracts import JSON, CheckpointRecord, VerifyReport


class VetoedSaveWarning(UserWarning):
    """A hook vetoed a save; the training goes on without this checkpoint."""


class EnhancedCheckpointManager:
    """Checkpoints of one run. A manager begins a run of its own with the first save, unless `resume` takes one up.

    Args:
        database_url: record store; default ``sqlite:///experiments.db`` in the working directory.
        storage_backend: ``vault`` (default), ``safetensors``, ``pytorch``, ``memory`` or what a plugin provides.
        checkpoint_dir: default ``checkpoints/`` beside the SQLite file.
        experiment: name of the series of runs; default, the script's name.
        run: name of the run to begin or go on with; default, decided by ``MCE_RUN`` or the job scheduler.
        config: the training's settings, kept with the run; JSON.
        async_save: saves return as soon as the state is copied, unless told otherwise; see `wait`.
        on_veto: ``warn`` makes a vetoed save return None, ``raise`` raises ``OperationVetoed``.
        metric_modes: ``min`` or ``max`` for metrics whose names do not tell.
        kernel: use this open kernel instead of opening one; closing the manager then leaves it open.
    """

    def __init__(
        self,
        database_url: str | None = None,
        storage_backend: str | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        *,
        experiment: str | None = None,
        run: str | None = None,
        config: Mapping[str, JSON] | None = None,
        tags: Iterable[str] | Mapping[str, str] | None = None,
        async_save: bool = False,
        on_veto: Literal["warn", "raise"] = "warn",
        metric_modes: Mapping[str, str] | None = None,
        kernel: Kernel | None = None,
        plugins: str | Iterable[str] = "all",
        quiet: bool | None = None,
    ) -> None:
        if on_veto not in ("warn", "raise"):
            raise ConfigurationError(f"on_veto={on_veto!r} is not known: use 'warn' or 'raise'")
        if kernel is not None and not isinstance(kernel, Kernel):
            raise ConfigurationError(f"kernel={kernel!r} is no open Kernel")
        self._owns_kernel = kernel is None
        self.kernel = kernel or Kernel.open(
            database_url,
            storage_backend=storage_backend,
            checkpoint_dir=checkpoint_dir,
            plugins=plugins,
            metric_modes=metric_modes,
            quiet=quiet,
        )
        self._plan: dict[str, Any] = {"experiment": experiment, "run": run, "config": config, "tags": tags}
        self.kernel.plan_run(**self._plan)  # a collector's first metric may begin the run
        self._begun: object = None
        self._on_veto = on_veto
        self.async_save = async_save

    # Saving

    def save_checkpoint(
        self,
        model: Any = None,
        optimizer: Any = None,
        scheduler: Any = None,
        *,
        epoch: int | None = None,
        step: int | None = None,
        loss: object = None,
        val_loss: object = None,
        metrics: Mapping[str, object] | None = None,
        state: Mapping[str, object] | None = None,
        tags: Iterable[str] | Mapping[str, str] = (),
        metadata: Mapping[str, JSON] | None = None,
        storage_backend: str | None = None,
        auto_best: bool = True,
        wait: bool | None = None,
    ) -> str | None:
        """Save and return the checkpoint's id; None where a hook vetoed it (with a warning).

        `state` holds anything else by name: scalers, samplers, tensors, arrays, nested plain values. Metrics collected
        since the previous save are stored too. With ``wait=False`` (or `async_save`) the id is returned as soon as the
        state is copied: `wait` waits until it is durable, and a failure that nobody waited for is raised by the next
        call. Raises ``UnstorableStateError`` before anything is written,
        ``StorageError``, ``MetricError``, ``ConfigurationError`` where there is nothing to save.
        """
        if state is not None and not isinstance(state, Mapping):
            raise ConfigurationError(f"state= is a mapping of names to objects, not a {type(state).__name__}")
        given = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        objects = {name: obj for name, obj in given.items() if obj is not None}
        if clash := sorted(set(state or {}) & set(objects)):
            raise ConfigurationError(f"{', '.join(clash)} is given both by itself and in state=: give it once")
        objects |= dict(state or {})
        if not objects:
            raise ConfigurationError("there is nothing to save: give model=, optimizer=, scheduler= or state={...}")
        self.begin_run(adopt=False)  # a veto of the run itself is no veto of a save: nobody wants days without one
        try:
            return self.kernel.save(
                objects,
                epoch=epoch,
                step=step,
                loss=loss,
                val_loss=val_loss,
                metrics=metrics,
                tags=tags,
                metadata=metadata,
                backend=storage_backend,
                auto_best=auto_best,
                wait=not self.async_save if wait is None else wait,
            )
        except OperationVetoed as veto:
            if self._on_veto == "raise":
                raise
            warnings.warn(f"the checkpoint was not saved: {veto}", VetoedSaveWarning, stacklevel=2)
            return None

    def wait(self, checkpoint_id: str) -> CheckpointRecord:
        """Return the record of a save once it is durable. Raises what a non-blocking save failed with."""
        return self.kernel.wait(checkpoint_id)

    # Loading

    def load_checkpoint(
        self,
        which: str = "latest",
        *,
        model: Any = None,
        optimizer: Any = None,
        scheduler: Any = None,
        state: Mapping[str, object] | None = None,
        strict: bool | str = True,
        verify: str | None = None,
    ) -> LoadReport:
        """Load a checkpoint, every byte verified, and restore in place the objects that are given.

        `which` is an id, ``latest``, ``best:<metric>`` or ``tag:<tag>``. The report is a mapping of what was stored
        (``report["model"]``) and tells epoch, step, metrics, missing, unexpected and mismatched keys. Random streams
        are left alone: `resume` restores them. Raises ``IntegrityError``, ``StateMismatchError`` (nothing changed),
        ``CheckpointNotFoundError``.
        """
        given = {"model": model, "optimizer": optimizer, "scheduler": scheduler, **dict(state or {})}
        into = {name: obj for name, obj in given.items() if obj is not None}
        return self.kernel.load(which, into=into, strict=strict, verify=verify)

    def resume(self, model: Any = None, optimizer: Any = None, scheduler: Any = None, **others: object) -> ResumeReport:
        """Go on with the newest unfinished run of the experiment: restore the objects and all random streams.

        Call it before the first save. Returns a falsy report for a fresh start. Raises ``NothingToResumeError`` where
        there are checkpoints and none verifies.
        """
        self.begin_run(adopt=True)
        given = {"model": model, "optimizer": optimizer, "scheduler": scheduler, **others}
        return self.kernel.resume({name: obj for name, obj in given.items() if obj is not None})

    def begin_run(self, *, adopt: bool = False) -> None:
        """Begin the run, unless one is active; with `adopt`, go on with the newest unfinished one.

        Raises ``KernelError`` where the kernel's active run is not the one, or not of the experiment, that was named,
        or is a new one already that goes on with nothing.
        """
        active, plan = self.kernel.active_run, self._plan
        if active is None:
            self._begun = self.kernel.start_run(**plan, adopt=adopt)
            return
        record, named, series = active.state.record, plan["run"], plan["experiment"]
        if adopt and not active.adopts and not self.kernel.checkpoints(limit=1):
            raise KernelError(f"run {record.name!r} has begun already: call resume() before the first metric or save")
        if named not in (None, record.name, record.id) or series not in (None, record.experiment_name):
            raise KernelError(
                f"run {record.name!r} of experiment {record.experiment_name!r} is active on this kernel: end it first,"
                " or give this manager a kernel of its own"
            )

    # Looking

    def get_checkpoint(self, which: str = "latest") -> CheckpointRecord:
        """Return what is known of a checkpoint. Raises ``CheckpointNotFoundError``."""
        return self.kernel.checkpoint(which)

    def list_checkpoints(self, *, tag: str | None = None, limit: int | None = None) -> list[CheckpointRecord]:
        """Return the run's checkpoints, the newest first."""
        return self.kernel.checkpoints(tag=tag, limit=limit)

    def get_best_checkpoint(self, metric: str = "val_loss", mode: str | None = None) -> CheckpointRecord | None:
        """Return the run's best undamaged checkpoint, or None where none has that metric.

        `mode` is ``min`` or ``max``; None infers it from the name. Raises ``MetricError`` where that is unclear.
        """
        return self.kernel.best(metric, mode)

    def is_best_checkpoint(self, checkpoint_id: str | None, metric: str | None = None) -> bool:
        """Say whether a checkpoint is at this moment its run's best by `metric` (None: ``val_loss``, else ``loss``)."""
        if checkpoint_id is None:  # a vetoed save is nobody's best
            return False
        record = self.kernel.checkpoint(checkpoint_id)
        flags = self.kernel.records.best_flags(record.run_id)
        return (metric or primary_metric(flags)) in record.best_for

    def get_checkpoint_path(self, which: str, format: str | None = None) -> Path:
        """Return a file that other tools open.

        ``format="pt"``: ``torch.load(path, weights_only=True)`` gives ``model_state_dict``, ``optimizer_state_dict``,
        ``epoch`` and so on. ``format="safetensors"``: the tensors. None: what the storage backend keeps. A format that
        the backend does not keep is written under ``exports/``.
        """
        return self.kernel.checkpoint_path(which, format=format)

    def verify_checkpoint(self, which: str = "latest", *, depth: str = "full") -> VerifyReport:
        """Check a checkpoint and report: every byte against its SHA-256, unless `depth` asks for less."""
        return self.kernel.verify(which, depth=depth)

    def delete_checkpoint(self, which: str) -> int:
        """Delete a checkpoint and return the bytes that this frees, at the latest at `close`. A hook may veto."""
        return self.kernel.delete(which)

    def generate_performance_report(self) -> dict[str, JSON]:
        """Return counts, percentiles (seconds), bytes and throughput of every operation of this process."""
        return self.kernel.performance_report()

    # Hooks

    @property
    def hook_manager(self) -> HookManager:
        """Registers objects with hooks, and tells their statistics."""
        return self.kernel.hooks

    def register_hook(
        self,
        name: str,
        hook: Callable[..., object],
        events: Iterable[HookEvent | str],
        *,
        priority: int = HookPriority.NORMAL,
        condition: Callable[[Any], object] | None = None,
        timeout: float | None = None,
        on_error: Literal["isolate", "abort"] = "isolate",
    ) -> None:
        """Call ``hook(context)`` at every one of `events`; registering a name again replaces it.

        Raises ``HookRegistrationError``, ``UnknownEventError``.
        """
        self.kernel.hooks.register_hook(
            name, hook, events, priority=priority, condition=condition, timeout=timeout, on_error=on_error
        )

    # Ends

    def close(self) -> None:
        """End the run as finished and release everything. Happens by itself when the process ends."""
        self.__exit__(None, None, None)

    def __enter__(self) -> EnhancedCheckpointManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owns_kernel:
            self.kernel.__exit__(kind, error, trace)
        elif self._begun is not None and self.kernel.active_run is self._begun:  # theirs to end, who began it
            self.kernel.end_run(error=error)
