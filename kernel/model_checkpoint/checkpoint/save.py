"""The pipeline of a save.

::

    before_checkpoint_save          may veto, or change state, metrics, tags, metadata, backend
    capture                         adapters describe the live state; nothing was written yet when this fails
    on_checkpoint_staged
    write                           the backend makes it durable, under an id of its own
    rank and commit                 outside any transaction; ranked again when somebody else committed in between
    refs                            runs/<run>/latest and best-<metric>
    after_checkpoint_save, on_best_model_update...

Whatever fails up to the commit ends in on_checkpoint_save_error, leaves nothing visible and every earlier checkpoint
whole. A process that is killed between write and commit leaves a file that no record names: it costs space, and the
next save takes another id.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from model_checkpoint.checkpoint.capture import capture
from model_checkpoint.checkpoint.details import as_json, as_numbers, checked_tags, json_number
from model_checkpoint.checkpoint.environment import environment
from model_checkpoint.checkpoint.ranking import flags_won, primary_metric
from model_checkpoint.checkpoint.saver import Pending, Saver
from model_checkpoint.checkpoint.services import Operation, RunState, Services, path_or_none
from model_checkpoint.checkpoint.staging import Stage
from model_checkpoint.common.clock import Stopwatch, now_s
from model_checkpoint.common.ids import checked_name, checkpoint_id, random_id
from model_checkpoint.common.numbers import checked_step
from model_checkpoint.contracts import (
    JSON,
    BestFlag,
    CheckpointPayload,
    CheckpointRecord,
    StorageBackend,
    WriteReceipt,
)
from model_checkpoint.errors import (
    CheckpointEngineError,
    CheckpointExistsError,
    ConfigurationError,
    OperationVetoed,
    StaleGenerationError,
    StorageError,
)
from model_checkpoint.hooks import Context, HookEvent

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.tree import FlatTree

_LIVE = ("model", "optimizer", "scheduler")
_log = logging.getLogger("model_checkpoint")


@dataclass(slots=True)
class SaveRequest:
    """What the caller wants saved."""

    objects: Mapping[str, object]
    epoch: object = None
    step: object = None
    loss: object = None
    val_loss: object = None
    metrics: Mapping[str, object] | None = None
    tags: object = ()
    metadata: Mapping[str, JSON] | None = None
    backend: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    auto_best: bool = True


def save(services: Services, run: RunState, request: SaveRequest) -> CheckpointRecord:
    """Save and return the record. Raises ``OperationVetoed``, ``UnstorableStateError``, ``StorageError`` and others."""
    job = SaveJob(services, run, request)
    job.prepare(None)
    return job.finish()


def save_later(services: Services, run: RunState, request: SaveRequest, saver: Saver) -> str:
    """Copy the state, leave the rest to `saver`, and return the checkpoint's id. Raises as `save` does up to there."""
    job = SaveJob(services, run, request)
    with saver.room() as stage:
        job.prepare(stage)
        checkpoint_id = job.choose_id(saver.pending())
        saver.put(Pending(checkpoint_id, job.finish, stage))
    return checkpoint_id


class SaveJob:
    """One save, in two halves: the second may be another thread's.

    Raises for what it cannot take up; nothing is to be put back then.
    """

    def __init__(self, services: Services, run: RunState, request: SaveRequest) -> None:
        if not isinstance(request.objects, Mapping):
            raise ConfigurationError(f"what is saved is a mapping of names to objects, not a {_kind(request.objects)}")
        self.services, self.state, self.request = services, run, request
        self.operation = Operation(services, run.record)
        self.stage = "check"
        self.epoch, self.step = checked_step(request.epoch, "epoch"), checked_step(request.step, "step")
        self._collected: dict[str, float] = {}
        self._backend: StorageBackend | None = None
        self._written: str | None = None
        self._chosen: str | None = None
        self._watch = Stopwatch()

    def prepare(self, stage: Stage | None) -> None:
        """Ask the hooks and capture the state; with `stage`, as a copy that later changes do not touch."""
        with self._told():
            context = self._context = self._announce()
            self.stage = "capture"
            flat = self._capture(context)
            self._metadata = as_json(context.get("metadata"), "metadata")
            self._given_metadata = copy.deepcopy(dict(context.get("metadata")))  # the caller goes on, and may change it
            self._metrics, self._tags = as_numbers(context.get("metrics")), checked_tags(context.get("tags"))
            self._flat = flat if stage is None else replace(flat, buffers=stage.copy(flat.buffers))
            self.operation.fire(
                HookEvent.ON_CHECKPOINT_STAGED,
                nbytes=sum(b.nbytes for b in flat.buffers),
                blocked_s=self._watch.elapsed_s,
            )
            self.stage = "write"
            self._backend_name = self._choose_backend(context)
            self._backend = self.services.backends.open(self._backend_name)

    def choose_id(self, taken: Collection[str]) -> str:
        """Settle the id before anything is written: none of `taken`, none that is recorded or stored."""
        with self._told():
            assert self._backend is not None
            for new_id in self._ids(self._context, self._next_sequence() + len(taken)):
                if new_id not in taken and not self._backend.holds(new_id):
                    self._chosen = new_id
                    return new_id
        raise self._no_id()

    def finish(self) -> CheckpointRecord:
        """Write, rank, commit and tell."""
        with self._told():
            return self._finish()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.broke_off(error)
            raise

    def _finish(self) -> CheckpointRecord:
        metrics, tags, watch = self._metrics, self._tags, self._watch
        receipt, sequence = self._write(self._details(metrics, tags, self._metadata))
        self.stage = "commit"
        run = self.state.record
        record, won, held = self._commit(
            CheckpointRecord(
                id=receipt.checkpoint_id,
                run_id=run.id,
                run_name=run.name,
                experiment_id=run.experiment_id,
                created_at_s=now_s(),
                backend=self._backend_name,
                digest=receipt.digest,
                nbytes=receipt.nbytes,
                nbytes_written=receipt.nbytes_written,
                duration_s=watch.elapsed_s,
                sequence=sequence,
                epoch=self.epoch,
                step=self.step,
                parent_id=self.state.parent_id,
                metrics=metrics,
                tags=tags,
                metadata=self._given_metadata,
            )
        )
        self.stage = "committed"
        self.state.parent_id, self.state.generation = record.id, record.sequence
        self._move_refs(record, won)
        self._tell(record, won, held, watch)
        return record

    def _announce(self) -> Context:
        request, given = self.request, as_numbers(self.request.metrics)
        losses = {"loss": request.loss, "val_loss": request.val_loss}
        given |= as_numbers({name: value for name, value in losses.items() if value is not None})
        tags, metadata = checked_tags(request.tags), request.metadata or {}
        as_json(metadata, "metadata")
        self._collected = self.state.take_pending()
        metrics = {**self._collected, **given}  # what is given now wins
        self.stage = "before"
        return self.operation.fire(
            HookEvent.BEFORE_CHECKPOINT_SAVE,
            **{name: request.objects.get(name) for name in _LIVE},
            state={name: obj for name, obj in request.objects.items() if name not in _LIVE},
            epoch=self.epoch,
            step=self.step,
            loss=metrics.get("loss"),
            val_loss=metrics.get("val_loss"),
            metrics=metrics,
            tags=tags,
            metadata=dict(metadata),
            backend=request.backend,
            options=dict(request.options),
            auto_best=request.auto_best,
        ).context

    def _capture(self, context: Context) -> FlatTree:
        objects = self.request.objects
        live = {name: objects[name] for name in objects if name in _LIVE}
        return capture({**live, **(context.get("state") or {})}, self.services.adapters)

    def _choose_backend(self, context: Context) -> str:
        name = context.get("backend")
        if name is None:
            name = self.services.hooks.caller("choose_storage_backend")(context=context)
        return str(name) if name is not None else self.services.backends.default

    def _details(
        self, metrics: Mapping[str, float], tags: Mapping[str, str], metadata: dict[str, JSON]
    ) -> dict[str, JSON]:
        """What the stored file itself tells, for who has lost the record store."""
        run = self.state.record
        numbers = {name: json_number(value) for name, value in metrics.items()}
        return {
            "run": run.name,
            "run_id": run.id,
            "experiment": run.experiment_name,
            "parent": self.state.parent_id,
            "epoch": self.epoch,
            "step": self.step,
            "created_at_s": now_s(),
            "metrics": {**numbers},
            "tags": dict(tags),
            "metadata": metadata,
            "environment": {key: environment()[key] for key in ("python", "host", "git_commit")},
            **{name: numbers[name] for name in ("loss", "val_loss") if name in numbers},
        }

    def _next_sequence(self) -> int:
        generation = self.state.generation  # if another process committed meanwhile, the commit finds that out
        if generation is None:
            current = self.services.records.get_run(self.state.record.id)
            generation = current.generation if current else 0
        return generation + 1

    def _write(self, details: dict[str, JSON]) -> tuple[WriteReceipt, int]:
        flat, backend, sequence = self._flat, self._backend, self._next_sequence()
        assert backend is not None
        if not isinstance(flat.tree, dict):
            raise ConfigurationError("the state to save must be a mapping of names to objects")
        for new_id in [self._chosen] if self._chosen else self._ids(self._context, sequence):
            if backend.holds(new_id):  # stored and not recorded: not ours to touch, should this save break off
                continue
            self.operation.about(new_id)
            self._written = new_id
            try:
                payload = CheckpointPayload(new_id, flat.tree, flat.buffers, {**details, "sequence": sequence})
                return backend.write(payload), sequence
            except CheckpointExistsError:  # another process was faster
                self._written = None
        raise self._no_id()

    def _no_id(self) -> CheckpointExistsError:
        return CheckpointExistsError(f"every id tried for this save of {self.state.record.name} is stored already")

    def _ids(self, context: Context, sequence: int) -> Iterator[str]:
        """Yield unrecorded ids, one after another until one can be stored."""
        records, chosen = self.services.records, self.services.hooks.caller("make_checkpoint_id")(context=context)
        name, epoch, step = self.state.record.name, self.epoch, self.step
        if chosen is not None:
            name, epoch, step = checked_name(chosen, "a checkpoint"), None, None
            if records.get_checkpoint(name) is not None:
                raise CheckpointExistsError(
                    f"make_checkpoint_id chose {name!r}, which is recorded already: ids are never used again"
                )
            yield name
        for tail_length in (2, 4, 8, 16):
            new_id = checkpoint_id(name, epoch=epoch, step=step, sequence=sequence, tail_length=tail_length)
            if records.get_checkpoint(new_id) is None:
                yield new_id
        yield f"{checkpoint_id(name, epoch=epoch, step=step, sequence=sequence)}-{random_id()}"

    def _commit(self, record: CheckpointRecord) -> tuple[CheckpointRecord, list[BestFlag], dict[str, BestFlag]]:
        records, run_id = self.services.records, record.run_id
        generation = record.sequence - 1
        while True:
            held = records.best_flags(run_id)
            won = flags_won(self.services, record, held) if self.request.auto_best else []
            try:
                return records.commit_checkpoint(record, best=won, expected_generation=generation), won, held
            except StaleGenerationError:
                current = records.get_run(run_id)
                if current is None:
                    raise
                generation = current.generation

    def _move_refs(self, record: CheckpointRecord, won: list[BestFlag]) -> None:
        for name in ("latest", *(f"best-{flag.metric}" for flag in won)):
            try:
                self.services.refs.move(record.run_name, name, record.id)
            except (OSError, StorageError) as error:  # the checkpoint is safe; only a pointer for people is stale
                _log.warning(
                    "checkpoint %s is saved, but its pointer %r could not be moved: %s", record.id, name, error
                )

    def _tell(
        self, record: CheckpointRecord, won: list[BestFlag], held: Mapping[str, BestFlag], watch: Stopwatch
    ) -> None:
        best_for = tuple(sorted(flag.metric for flag in won))
        assert self._backend is not None
        self.operation.fire(
            HookEvent.AFTER_CHECKPOINT_SAVE,
            file_path=path_or_none(self._backend, record.id),
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

    def broke_off(self, error: BaseException) -> None:
        """Put back what the save had taken, remove what it had written, and tell."""
        if self.stage == "committed":
            return
        recorded = self._is_recorded()
        if recorded:  # interrupted after the commit, or ended by a hook on it: the checkpoint is there
            self.state.parent_id = self._written
            return
        self.state.put_back(self._collected)
        if self.stage == "check" or (self.stage == "before" and isinstance(error, OperationVetoed)):
            return  # nothing was announced; or it was, and a veto is an end of its own
        try:
            self.operation.fire(
                HookEvent.ON_CHECKPOINT_SAVE_ERROR,
                error=error,
                stage=self.stage,
                epoch=self.epoch,
                step=self.step,
                file_path=None,
                cleaned_up=recorded is False and self._clean_up(error),
            )
        except Exception as another:  # the save's own error is the one to raise
            _log.warning("a hook on the failed save failed too: %s: %s", type(another).__name__, another)

    def _is_recorded(self) -> bool | None:
        """Whether the commit went through after all; None where that cannot be told, and nothing may be removed."""
        if self._written is None or self.stage != "commit":
            return False
        try:
            return self.services.records.get_checkpoint(self._written) is not None
        except (OSError, CheckpointEngineError) as error:
            _log.warning("checkpoint %s is stored, and whether it is recorded is unknown: %s", self._written, error)
            return None

    def _clean_up(self, error: BaseException) -> bool:
        """Remove what was written but not committed. Returns whether nothing of it is left."""
        if self._backend is None or self._written is None:
            return True
        if self.stage == "write" and isinstance(error, Exception):
            return True  # a write that fails leaves nothing; one that was interrupted may have been through
        try:
            if self._backend.holds(self._written):
                self._backend.forget(self._written)
        except (OSError, CheckpointEngineError) as failure:
            _log.warning("what was left of the failed save %s could not be removed: %s", self._written, failure)
            return False
        return True


def _kind(value: object) -> str:
    return type(value).__name__
