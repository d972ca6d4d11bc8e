"""Events of the kernel, experiments, runs, checkpoints, integrity and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_checkpoint.hooks.specs.marks import event

if TYPE_CHECKING:
    from model_checkpoint.hooks import contexts as c


@event("config: Any, plugins: list[str], kernel_version: str, kernel_api: str", historic=True)
def on_system_start(context: c.OnSystemStartContext, kernel: object = None) -> object:
    """A kernel is open and ready. Plugins that are registered later hear it too."""


@event("reason: str, deadline_s: float | None")
def on_system_shutdown(context: c.OnSystemShutdownContext, kernel: object = None) -> object:
    """A kernel is about to close; its records can still be written."""


@event(
    "experiment_id: str | None, name: str, config: Mapping[str, JSON] | None, tags*: dict[str, str],"
    " parent_id: str | None",
    veto=True,
)
def on_experiment_start(context: c.OnExperimentStartContext, kernel: object = None) -> object:
    """A run of an experiment is about to begin. ``experiment_id`` is None where the experiment is new."""


@event("experiment_id: str, status: str, duration_s: float, best_checkpoint_id: str | None")
def on_experiment_end(context: c.OnExperimentEndContext, kernel: object = None) -> object:
    """The experiment's run in this process has ended."""


@event(
    "run_id: str, run_name: str, experiment_id: str, config: Mapping[str, JSON] | None, tags*: dict[str, str],"
    " resumed_from: str | None",
    veto=True,
)
def on_run_start(context: c.OnRunStartContext, kernel: object = None) -> object:
    """A run begins, or goes on from the checkpoint ``resumed_from``."""


@event(
    "run_id: str, run_name: str, status: str, reason: str, last_step: int | None, duration_s: float,"
    " best_checkpoint_id: str | None"
)
def on_run_end(context: c.OnRunEndContext, kernel: object = None) -> object:
    """A run has ended; ``status`` is finished, failed, crashed or preempted."""


@event(
    "run_id: str, checkpoint_id: str, step: int | None, epoch: int | None, skipped: tuple[tuple[str, str], ...],"
    " fell_back: bool"
)
def on_resume(context: c.OnResumeContext, kernel: object = None) -> object:
    """A training goes on. ``skipped`` names damaged or incomplete checkpoints that were passed over, with reasons."""


@event(
    "alias: str, model_name: str, old_checkpoint_id: str | None, new_checkpoint_id: str | None, actor: str", veto=True
)
def on_alias_change(context: c.OnAliasChangeContext, kernel: object = None) -> object:
    """An alias such as ``prod`` is about to move. A veto is a gate."""


@event(
    "model: Any, optimizer: Any, scheduler: Any, state*: dict[str, object], epoch: int | None, step: int | None,"
    " loss: float | None, val_loss: float | None, metrics*: dict[str, float], tags*: dict[str, str],"
    " metadata*: dict[str, JSON], backend*: str | None, options*: dict[str, object], auto_best: bool",
    veto=True,
)
def before_checkpoint_save(context: c.BeforeCheckpointSaveContext, kernel: object = None) -> object:
    """A checkpoint is about to be saved. Nothing was captured or written yet."""


@event("checkpoint_id: str, nbytes: int, blocked_s: float")
def on_checkpoint_staged(context: c.OnCheckpointStagedContext, kernel: object = None) -> object:
    """The state is captured; ``blocked_s`` is how long the training loop waited for that."""


@event(
    "checkpoint_id: str, file_path: Path | None, epoch: int | None, step: int | None, loss: float | None,"
    " val_loss: float | None, metrics: Mapping[str, float], is_best: bool, is_best_loss: bool, is_best_val_loss: bool,"
    " best_for: tuple[str, ...], nbytes: int, nbytes_written: int, checksum: str, backend: str, duration_s: float"
)
def after_checkpoint_save(context: c.AfterCheckpointSaveContext, kernel: object = None) -> object:
    """A checkpoint is durable and recorded. ``best_for`` names the metrics by which it is now its run's best."""


@event(
    "error: BaseException, stage: str, epoch: int | None, step: int | None, file_path: Path | None, cleaned_up: bool"
)
def on_checkpoint_save_error(context: c.OnCheckpointSaveErrorContext, kernel: object = None) -> object:
    """A save failed in ``stage`` (capture, write, commit). Earlier checkpoints are intact."""


@event(
    "checkpoint_id: str, file_path: Path | None, backend: str, map_location*: str | None, strict*: bool | str,"
    " weights_only: bool, keys*: tuple[str, ...] | None",
    veto=True,
)
def before_checkpoint_load(context: c.BeforeCheckpointLoadContext, kernel: object = None) -> object:
    """A checkpoint is about to be read."""


@event(
    "checkpoint_id: str, file_path: Path | None, epoch: int | None, step: int | None, missing_keys: tuple[str, ...],"
    " unexpected_keys: tuple[str, ...], nbytes: int, duration_s: float"
)
def after_checkpoint_load(context: c.AfterCheckpointLoadContext, kernel: object = None) -> object:
    """A checkpoint was verified and restored."""


@event("error: BaseException, checkpoint_id: str, file_path: str | None, fallback_id*: str | None")
def on_checkpoint_load_error(context: c.OnCheckpointLoadErrorContext, kernel: object = None) -> object:
    """A load failed; of a damaged checkpoint, ``fallback_id`` is loaded instead where it is not None."""


@event(
    "checkpoint_id: str, file_path: Path | None, reason: str, nbytes: int, referenced_by: tuple[str, ...]", veto=True
)
def before_checkpoint_delete(context: c.BeforeCheckpointDeleteContext, kernel: object = None) -> object:
    """A checkpoint is about to be deleted."""


@event("checkpoint_id: str, reason: str, nbytes_freed: int")
def after_checkpoint_delete(context: c.AfterCheckpointDeleteContext, kernel: object = None) -> object:
    """A checkpoint was deleted."""


@event("checkpoint_id: str, file_path: Path | None, algorithm: str, depth*: str", veto=True)
def before_integrity_check(context: c.BeforeIntegrityCheckContext, kernel: object = None) -> object:
    """A stored checkpoint is about to be verified."""


@event("checkpoint_id: str, ok: bool, expected: str, actual: str, nbytes_read: int, duration_s: float")
def after_integrity_check(context: c.AfterIntegrityCheckContext, kernel: object = None) -> object:
    """A verification has ended. ``expected`` and ``actual`` are SHA-256 in hex."""


@event(
    "checkpoint_id: str, file_path: Path | str | None, expected: str, actual: str, bad_parts: tuple[str, ...],"
    " action*: str"
)
def on_integrity_failure(context: c.OnIntegrityFailureContext, kernel: object = None) -> object:
    """Stored bytes are not what was written. ``action`` says what follows: raise, fall back or mark."""


@event("table: str, operation: str, rows: Sequence[object]", hot=True, veto=True)
def before_db_write(context: c.BeforeDbWriteContext, kernel: object = None) -> object:
    """Rows are about to be written to the record store; no transaction is open yet."""


@event("table: str, operation: str, row_count: int, duration_s: float", hot=True)
def after_db_write(context: c.AfterDbWriteContext, kernel: object = None) -> object:
    """Rows were committed."""


@event("operation: str, error: BaseException, attempt: int, will_retry: bool")
def on_db_error(context: c.OnDbErrorContext, kernel: object = None) -> object:
    """The record store refused a write."""
