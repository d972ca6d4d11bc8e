"""The pipeline of a save.

::

    before_checkpoint_save          may veto, or change state, metrics, tags, metadata, backend
    capture                         adapters describe the live state; nothing was written yet when this fails
    on_checkpoint_staged
    write                           the backend makes it durable, under an id of its own
    rank and commit                 outside any transaction; ranked again when somebody else committed in between
    refs                            runs/<run>/latest and best-<metric>
    after_checkpoint_save, on_best_model_update...

Whatever fails up to the commit ends in on_checkpoint_save_error, leaves nothing visible and every earlier checkpoint whole.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from model_checkpoint.checkpoint.capture import capture
from model_checkpoint.checkpoint.environment import environment
from model_checkpoint.checkpoint.ranking import flags_won, primary_metric
from model_checkpoint.checkpoint.services import Operation, RunState, Services
from model_checkpoint.checkpoint.tree import FlatTree
from model_checkpoint.common.clock import Stopwatch, now_s
from model_checkpoint.common.ids import checked_name, checkpoint_id
from model_checkpoint.common.numbers import as_metric_value, checked_step
from model_checkpoint.contracts import (
    JSON,
    BestFlag,
    CheckpointPayload,
    CheckpointRecord,
    StorageBackend,
    WriteReceipt,
)
from model_checkpoint.errors import CheckpointEngineError, ConfigurationError, StaleGenerationError, StorageError
from model_checkpoint.hooks import Context, HookEvent

_LIVE = ("model", "optimizer", "scheduler")
_log = logging.getLogger("model_checkpoint")


@dataclass(slots=True)
class SaveRequest:
    """What the caller wants saved."""

    objects: dict[str, object]
    epoch: int | None = None
    step: int | None = None
    loss: object = None
    val_loss: object = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    backend: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    auto_best: bool = True


def save(services: Services, run: RunState, request: SaveRequest) -> CheckpointRecord:
    """Save and return the record. Raises ``OperationVetoed``, ``UnstorableStateError``, ``StorageError`` and others."""
    operation = Operation(services, run.record)
    job = _SaveJob(services, run, operation)
    try:
        return job.run(request)
    except BaseException as error:
        if job.announced and not job.committed:
            cleaned_up = job.clean_up()
            with contextlib.suppress(CheckpointEngineError):
                operation.fire(
                    HookEvent.ON_CHECKPOINT_SAVE_ERROR,
                    error=error,
                    stage=job.stage,
                    epoch=request.epoch,
                    step=request.step,
                    file_path=None,
                    cleaned_up=cleaned_up,
                )
        raise


class _SaveJob:
    def __init__(self, services: Services, run: RunState, operation: Operation) -> None:
        self.services, self.state, self.operation = services, run, operation
        self.stage = "before"
        self.announced = self.committed = False
        self._backend: StorageBackend | None = None
        self._written: str | None = None

    def run(self, request: SaveRequest) -> CheckpointRecord:
        watch = Stopwatch()
        epoch, step = checked_step(request.epoch, "epoch"), checked_step(request.step, "step")
        metrics = self._metrics(request)
        context = self._announce(request, metrics)
        self.stage = "capture"
        flat = self._capture(request, context)
        self.operation.fire(
            HookEvent.ON_CHECKPOINT_STAGED, nbytes=sum(b.nbytes for b in flat.buffers), blocked_s=watch.elapsed_s
        )
        self.stage = "write"
        final = {name: as_metric_value(name, value) for name, value in context.get("metrics").items()}
        receipt, sequence = self._write(flat, context, final, epoch, step)
        self.stage = "commit"
        record = CheckpointRecord(
            id=receipt.checkpoint_id,
            run_id=self.state.record.id,
            run_name=self.state.record.name,
            experiment_id=self.state.record.experiment_id,
            created_at_s=now_s(),
            backend=self._name_of_backend,
            digest=receipt.digest,
            nbytes=receipt.nbytes,
            nbytes_written=receipt.nbytes_written,
            duration_s=watch.elapsed_s,
            sequence=sequence,
            epoch=epoch,
            step=step,
            parent_id=self.state.parent_id,
            metrics=final,
            tags=_checked_tags(context.get("tags")),
            metadata=dict(context.get("metadata")),
        )
        record, won, held = self._commit(record, auto_best=request.auto_best)
        self.committed = True
        self.state.parent_id = record.id
        self.state.pending.clear()
        self._move_refs(record, won)
        self._tell(record, won, held, watch)
        return record

    def _metrics(self, request: SaveRequest) -> dict[str, float]:
        """Merge what was collected since the last save with what is given now; what is given now wins."""
        given = dict(request.metrics)
        for name in ("loss", "val_loss"):
            value = getattr(request, name)
            if value is not None:
                given[name] = value
        return {**self.state.pending, **{name: as_metric_value(name, value) for name, value in given.items()}}

    def _announce(self, request: SaveRequest, metrics: dict[str, float]) -> Context:
        state = {name: obj for name, obj in request.objects.items() if name not in _LIVE}
        self.announced = True
        try:
            report = self.operation.fire(
                HookEvent.BEFORE_CHECKPOINT_SAVE,
                **{name: request.objects.get(name) for name in _LIVE},
                state=state,
                epoch=request.epoch,
                step=request.step,
                loss=metrics.get("loss"),
                val_loss=metrics.get("val_loss"),
                metrics=metrics,
                tags=dict(request.tags),
                metadata=dict(request.metadata),
                backend=request.backend,
                options=dict(request.options),
                auto_best=request.auto_best,
            )
        except BaseException:
            self.announced = False  # a veto is an end of its own, not an error
            raise
        return report.context

    def _capture(self, request: SaveRequest, context: Context) -> FlatTree:
        live = {name: request.objects[name] for name in request.objects if name in _LIVE}
        return capture({**live, **(context.get("state") or {})}, self.services.adapters)

    def _write(
        self, flat: FlatTree, context: Context, metrics: Mapping[str, float], epoch: int | None, step: int | None
    ) -> tuple[WriteReceipt, int]:
        services, run = self.services, self.state.record
        self._name_of_backend = self._choose_backend(context)
        self._backend = services.backends.open(self._name_of_backend)
        current = services.records.get_run(run.id)
        sequence = (current.generation if current else 0) + 1
        new_id = self._new_id(context, epoch, step, sequence)
        self.operation.about(new_id)
        tree = flat.tree
        if not isinstance(tree, dict):
            raise ConfigurationError("the state to save must be a mapping of names to objects")
        details: dict[str, JSON] = {
            "run": run.name,
            "run_id": run.id,
            "experiment": run.experiment_name,
            "sequence": sequence,
            "parent": self.state.parent_id,
            "epoch": epoch,
            "step": step,
            "created_at_s": now_s(),
            "metrics": {name: _json_number(value) for name, value in metrics.items()},
            "tags": dict(_checked_tags(context.get("tags"))),
            "metadata": dict(context.get("metadata")),
            "environment": {key: environment()[key] for key in ("python", "host", "git_commit")},
        }
        for name in ("loss", "val_loss"):
            if name in metrics:
                details[name] = _json_number(metrics[name])
        payload = CheckpointPayload(new_id, tree, flat.buffers, details)
        self._written = new_id
        return self._backend.write(payload), sequence

    def _choose_backend(self, context: Context) -> str:
        name = context.get("backend")
        if name is None:
            name = self.services.hooks.hook.choose_storage_backend(context=context)
        return str(name) if name is not None else self.services.backends.default

    def _new_id(self, context: Context, epoch: int | None, step: int | None, sequence: int) -> str:
        chosen = self.services.hooks.hook.make_checkpoint_id(context=context)
        if chosen is not None:
            return checked_name(chosen, "a checkpoint")
        for tail_length in (2, 4, 8, 16):
            new_id = checkpoint_id(
                self.state.record.name, epoch=epoch, step=step, sequence=sequence, tail_length=tail_length
            )
            if self.services.records.get_checkpoint(new_id) is None:
                return new_id
        return checkpoint_id(self.state.record.name, epoch=epoch, step=step, sequence=sequence, tail_length=64)

    def _commit(
        self, record: CheckpointRecord, *, auto_best: bool
    ) -> tuple[CheckpointRecord, list[BestFlag], dict[str, BestFlag]]:
        records, run_id = self.services.records, record.run_id
        generation = record.sequence - 1
        while True:
            held = records.best_flags(run_id)
            won = flags_won(self.services, record, held) if auto_best else []
            try:
                return records.commit_checkpoint(record, best=won, expected_generation=generation), won, held
            except StaleGenerationError:
                current = records.get_run(run_id)
                if current is None:
                    raise
                generation = current.generation

    def _move_refs(self, record: CheckpointRecord, won: list[BestFlag]) -> None:
        try:
            self.services.refs.move(record.run_name, "latest", record.id)
            for flag in won:
                self.services.refs.move(record.run_name, f"best-{flag.metric}", record.id)
        except (OSError, StorageError) as error:  # the checkpoint is safe; only the pointers for people are stale
            _log.warning("checkpoint %s is saved, but its pointers could not be moved: %s", record.id, error)

    def _tell(
        self, record: CheckpointRecord, won: list[BestFlag], held: Mapping[str, BestFlag], watch: Stopwatch
    ) -> None:
        best_for = tuple(sorted(flag.metric for flag in won))
        assert self._backend is not None
        self.operation.fire(
            HookEvent.AFTER_CHECKPOINT_SAVE,
            file_path=self._backend.file_path(record.id),
            epoch=record.epoch,
            step=record.step,
            loss=record.loss,
            val_loss=record.val_loss,
            metrics=dict(record.metrics),
            is_best=primary_metric({**held, **record.metrics}) in best_for,
            is_best_loss="loss" in best_for,
            is_best_val_loss="val_loss" in best_for,
            best_for=best_for,
            nbytes=record.nbytes,
            nbytes_written=record.nbytes_written,
            checksum=record.digest,
            backend=record.backend,
            duration_s=watch.elapsed_s,
        )
        for flag in won:
            before = held.get(flag.metric)
            self.operation.fire(
                HookEvent.ON_BEST_MODEL_UPDATE,
                metric=flag.metric,
                mode=flag.mode,
                value=flag.value,
                previous_id=before.checkpoint_id if before else None,
                previous_value=before.value if before else None,
            )

    def clean_up(self) -> bool:
        """Remove what was written but not committed. Returns whether nothing of it is left."""
        if self._backend is None or self._written is None:
            return True
        try:
            if self._written in set(self._backend.list_ids()) and self.stage == "commit":
                self._backend.forget(self._written)
        except (OSError, CheckpointEngineError) as error:
            _log.warning("what was left of the failed save %s could not be removed: %s", self._written, error)
            return False
        return True


def _json_number(value: float) -> JSON:
    """Return a number as JSON holds it losslessly: NaN and infinities as words."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def _checked_tags(tags: object) -> dict[str, str]:
    if not isinstance(tags, Mapping):
        raise ConfigurationError(f"tags must be a list of labels or a mapping of strings, not {type(tags).__name__}")
    bad = [
        f"{key!r}: {value!r}" for key, value in tags.items() if not (isinstance(key, str) and isinstance(value, str))
    ]
    if bad:
        raise ConfigurationError(f"tags must be strings; not so: {', '.join(bad)}")
    return dict(tags)
