"""What a kernel does with checkpoints: save, load, resume, verify, look up, delete, clean up."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_checkpoint.checkpoint.delete import delete
from model_checkpoint.checkpoint.details import checked_tags
from model_checkpoint.checkpoint.inspect import DiffReport, StoreInfo, StoreReport, check_store, diff, store_info
from model_checkpoint.checkpoint.load import LoadRequest, checked_depth, load, load_latest
from model_checkpoint.checkpoint.marks import mark, move_alias
from model_checkpoint.checkpoint.rebuild import RebuildReport, confirm, is_unconfirmed, rebuild, undelete
from model_checkpoint.checkpoint.resume import resume
from model_checkpoint.checkpoint.save import SaveRequest, save, save_later
from model_checkpoint.checkpoint.saver import Saver
from model_checkpoint.checkpoint.services import Services
from model_checkpoint.checkpoint.verify import verify
from model_checkpoint.checkpoint.which import Scope, resolve
from model_checkpoint.common.numbers import checked_step
from model_checkpoint.contracts import JSON, Analyzer, CheckpointRecord, CollectReport, VerifyReport
from model_checkpoint.errors import CheckpointEngineError, ConfigurationError
from model_checkpoint.kernel.backends import BackendSet
from model_checkpoint.kernel.exchange import MAX_SHARD_NBYTES, export, read_tensors
from model_checkpoint.kernel.exclusive import Exclusive
from model_checkpoint.kernel.export import checkpoint_file
from model_checkpoint.kernel.records import HookedRecords

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.report import LoadReport, ResumeReport
    from model_checkpoint.config import ConfigSwap, KernelConfig
    from model_checkpoint.kernel.session import RunSession
    from model_checkpoint.plugins import PluginSet

_log = logging.getLogger("model_checkpoint")


class CheckpointOperations:
    """The part of a `Kernel` that works on checkpoints. The kernel gives it what it works with."""

    settings: ConfigSwap
    """What `config` comes from: ``settings.loaded`` says where each key was set."""
    services: Services
    records: HookedRecords
    backends: BackendSet
    plugins: PluginSet
    _lock: Exclusive
    _saver: Saver
    _has_deleted: bool
    _session: RunSession | None
    _check_open: Callable[[], None]
    _scope: Callable[[], Scope]
    _metric_modes: Mapping[str, str]
    _new_analyzer: Callable[[str], Analyzer | None]
    current_run: Callable[[], RunSession]

    @property
    def config(self) -> KernelConfig:
        """The settings in force: one consistent snapshot. Take it once for an operation."""
        return self.settings.current

    def save(
        self,
        objects: Mapping[str, object],
        *,
        epoch: int | None = None,
        step: int | None = None,
        loss: object = None,
        val_loss: object = None,
        metrics: Mapping[str, object] | None = None,
        tags: Iterable[str] | Mapping[str, str] = (),
        metadata: Mapping[str, JSON] | None = None,
        backend: str | None = None,
        options: Mapping[str, object] | None = None,
        auto_best: bool = True,
        wait: bool = True,
    ) -> str:
        """Save the state of `objects` and of all random streams; return the checkpoint's id once it is durable.

        Objects are modules, optimizers, anything with ``state_dict()``, arrays, tensors and nested plain values.
        `tags` are labels or a mapping. Without `wait` the id is returned as soon as the state is copied, and a thread
        writes it; at most two such saves are under way. Raises ``UnstorableStateError`` before anything is written,
        ``StorageError``, ``OperationVetoed``, ``MetricError``, ``ConfigurationError``, and whatever an earlier
        non-blocking save failed with that nobody has waited for.
        """
        request = SaveRequest(
            objects=objects,
            epoch=epoch,
            step=step,
            loss=loss,
            val_loss=val_loss,
            metrics=metrics,
            tags=tags,
            metadata=metadata,
            backend=backend,
            options=options or {},
            auto_best=auto_best,
        )
        with self._lock:
            self._check_open()
            session = self.current_run()
            session.try_flush()
            self._saver.raise_failure()
            if wait:
                self._saver.wait()
                saved = save(self.services, session.state, request).id
            else:
                saved = save_later(self.services, session.state, request, self._saver)
            session.note_step(checked_step(step, "step"))
            return saved

    def load(
        self,
        which: str = "latest",
        *,
        into: Mapping[str, object] | None = None,
        strict: bool | str = True,
        verify: str | None = None,
    ) -> LoadReport:
        """Load a checkpoint, verified, and restore `into` in place.

        `which` is an id, ``latest``, ``best:<metric>`` or ``tag:<tag>``. ``latest`` falls back to the newest older
        checkpoint of the same run that verifies and says so in ``report.fell_back_from``; anything else raises
        ``IntegrityError``. `verify` is ``fast`` (every byte against its fast digest), ``full`` (SHA-256), ``header``
        or ``stat``; None means what the settings say. Raises ``CheckpointNotFoundError``; ``StateMismatchError``
        before anything is changed.
        """
        record, request = self.checkpoint(which), self._load_request(into or {}, strict, verify)
        run = self._session.state.record if self._session else None
        if which == "latest":
            return load_latest(self.services, run, record, request)
        return load(self.services, run, [record], request)

    def resume(self, objects: Mapping[str, object]) -> ResumeReport:
        """Restore `objects` and all random streams from the current run's newest checkpoint that verifies."""
        self._check_open()
        with self._lock:
            session = self.current_run()
            self._saver.wait()
            report = resume(self.services, session.state, objects, verify=self.config.storage.verify)
            found = self.records.get_checkpoint(report.checkpoint_id) if report.checkpoint_id else None
            session.rewind(found, self._new_analyzer("metrics"))
            return report

    def verify(self, which: str, *, depth: str = "full") -> VerifyReport:
        """Check a checkpoint and report: every byte, unless `depth` (``stat``, ``header``, ``fast``) asks for less.

        Raises ``CheckpointNotFoundError``, ``OperationVetoed``.
        """
        return verify(self.services, self.checkpoint(which), checked_depth(depth, "depth"))

    def best(
        self, metric: str = "val_loss", mode: str | None = None, *, all_runs: bool = False
    ) -> CheckpointRecord | None:
        """Return the current run's (or, with none and with `all_runs`, anybody's) best checkpoint, or None."""
        self._settle()
        scope = Scope(metric_modes=self._metric_modes) if all_runs else self._scope()
        return scope.best(self.records, metric, mode)

    def query(self, query: str, *, limit: int | None = None) -> list[CheckpointRecord]:
        """Return checkpoints of all runs that match. Raises ``QuerySyntaxError`` that shows the position."""
        self._settle()
        return self.records.query_checkpoints(query, limit=limit)

    def checkpoint(self, which: str) -> CheckpointRecord:
        """Return what is known of a checkpoint. Raises ``CheckpointNotFoundError``."""
        self._settle()
        return resolve(self.records, which, self._scope())

    def checkpoints(self, *, tag: str | None = None, limit: int | None = None) -> list[CheckpointRecord]:
        """Return the checkpoints of the current run, or of the one that is planned, the newest first."""
        self._settle()
        return self._scope().newest(self.records, tag=tag, limit=limit)

    def wait(self, checkpoint_id: str) -> CheckpointRecord:
        """Return the record of a save once it is durable. Raises what a non-blocking save of that id failed with."""
        self._check_open()
        self._saver.wait(checkpoint_id)
        return self.checkpoint(checkpoint_id)

    @property
    def pending_saves(self) -> tuple[str, ...]:
        """The ids of the non-blocking saves that are not durable yet, the oldest first."""
        return self._saver.pending()

    def checkpoint_path(self, which: str, *, format: str | None = None) -> Path:
        """Return a file of the checkpoint that other tools open; see `kernel.export`."""
        return checkpoint_file(self.services, self.backends, self.config, self.checkpoint(which), format)

    def delete(self, which: str, *, reason: str = "asked for") -> int:
        """Delete a checkpoint and return the bytes that this frees, at the latest when the kernel is closed.

        A hook may veto. Raises ``CheckpointNotFoundError``, ``ProtectedCheckpointError`` for one that is pinned or has
        an alias.
        """
        freed = delete(self.services, self.checkpoint(which), reason)
        self._has_deleted = True
        return freed

    def undelete(self, checkpoint_id: str) -> None:
        """Take back a deletion, before the next `collect` and before the kernel that deleted is closed.

        Raises ``CheckpointNotFoundError`` where it is too late, or the storage backend has no such thing.
        """
        if not isinstance(checkpoint_id, str):
            raise ConfigurationError(f"{checkpoint_id!r} is no id of a checkpoint")
        with self._lock:
            self._settle()
            undelete(self.services, self.backends.stored(), checkpoint_id)

    def pin(self, which: str) -> None:
        """Keep a checkpoint, whatever a policy would drop, and refuse to delete it."""
        self._mark(which, "pin")

    def unpin(self, which: str) -> None:
        """Take a pin back."""
        self._mark(which, "pin", value=None)

    def tag(self, which: str, tags: Iterable[str] | Mapping[str, str | None]) -> None:
        """Add tags to a checkpoint: labels, or a mapping in which None takes one away."""
        record = self.checkpoint(which)
        given = dict(tags) if isinstance(tags, Mapping) else tags
        removed = [name for name, value in given.items() if value is None] if isinstance(given, dict) else []
        kept = {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given
        wanted: dict[str, str | None] = {**checked_tags(kept), **dict.fromkeys(removed)}
        for name, value in wanted.items():
            mark(self.services, record, "tag", name, value)

    def note(self, which: str, text: str) -> None:
        """Write a note on a checkpoint, in place of an earlier one; an empty one takes it away."""
        self._mark(which, "note", value=text or None)

    def alias(self, name: str, which: str | None) -> None:
        """Let `name` lead to a checkpoint within its experiment, as ``load(name)`` does; None takes it away.

        A hook on ``on_alias_change`` may veto. Raises ``InvalidNameError``, ``OperationVetoed``.
        """
        record = self.checkpoint(which) if which is not None else None
        self._settle()
        move_alias(self.services, name, record, self._scope().experiment(self.records))

    def _mark(self, which: str, kind: str, *, value: str | None = "") -> None:
        mark(self.services, self.checkpoint(which), kind, value=value)

    def rebuild(self) -> RebuildReport:
        """Record every stored checkpoint that is not recorded, with its run, metrics and marks.

        For who has lost the record store. Afterwards no policy drops a checkpoint before `confirm_rebuild`.
        """
        with self._lock:
            self._settle()
            return rebuild(self.services, self.backends.stored())

    def confirm_rebuild(self) -> None:
        """Say that rebuilt records are what they should be."""
        self._check_open()
        confirm(self.services)

    @property
    def awaits_confirmation(self) -> bool:
        """Whether records were rebuilt and nobody has called `confirm_rebuild`."""
        self._check_open()
        return is_unconfirmed(self.services)

    def collect(self) -> CollectReport:
        """Remove from storage what no checkpoint needs, such as what deleted ones leave. Raises ``StorageError``.

        Saves and loads of other threads and processes go on meanwhile.
        """
        self._settle()
        self._has_deleted = False
        return self.backends.collect()

    def _clean_up(self) -> None:
        """Free what deleted checkpoints leave; called as the kernel closes."""
        if self._has_deleted:
            try:
                self.backends.collect()
            except (OSError, CheckpointEngineError) as error:
                _log.warning("what deleted checkpoints leave could not be removed: %s", error)

    def diff(self, first: str, second: str) -> DiffReport:
        """Return how the second checkpoint differs from the first: tensors, metrics, metadata."""
        return diff(self.services, self.checkpoint(first), self.checkpoint(second))

    def check_store(self, *, depth: str = "full", subset: str | None = None) -> StoreReport:
        """Verify every stored checkpoint, or a part such as ``2/7`` of them, and compare storage with the records."""
        self._settle()
        stored, usable = self.backends.stored(), self.backends.names()
        return check_store(self.services, stored, usable, checked_depth(depth, "depth"), subset)

    def store_info(self) -> list[StoreInfo]:
        """Return for each storage backend how many checkpoints it holds, their bytes, and what they take on disk."""
        self._settle()
        return store_info(self.services, self.backends.stored(), self.config.storage.checkpoint_dir)

    def export(
        self,
        which: str,
        target: str | os.PathLike[str],
        *,
        format: str = "safetensors",
        object: str | None = None,
        max_shard_nbytes: int = MAX_SHARD_NBYTES,
    ) -> list[Path]:
        """Write the tensors of a checkpoint for other tools, verified; return the files.

        `format` is ``safetensors``, ``torch``, ``huggingface`` (a folder of shards) or what a plugin provides. With
        `object`, or where there is only a model, names are that object's own; else they begin with the object's.
        Raises ``CheckpointExistsError`` where `target` exists, ``ConfigurationError``, ``UnstorableStateError``.
        """
        record, codecs = self.checkpoint(which), self.plugins.provided.others["register_codecs"]
        return export(self.services, codecs, record, Path(target), format, object, max_shard_nbytes)

    def import_checkpoint(
        self, source: str | os.PathLike[str], *, format: str | None = None, object: str = "model", **saved: Any
    ) -> str:
        """Save the tensors of a file or folder of another tool as a checkpoint; return its id.

        They become the state of `object`. `format` is as for `export`; None detects it. `saved` is what `save` takes.
        Runs nothing that the file brings. Raises ``IntegrityError``, ``ConfigurationError``.
        """
        tensors = read_tensors(self.plugins.provided.others["register_codecs"], source, format)
        metadata = {"imported_from": Path(source).name, **(saved.pop("metadata", None) or {})}
        return self.save({object: tensors}, metadata=metadata, **saved)

    def _settle(self) -> None:
        """Let every save that is under way become durable: what is asked for now is what there is then."""
        self._check_open()
        self._saver.wait()

    def _load_request(self, into: Mapping[str, object], strict: bool | str, verify: str | None) -> LoadRequest:
        return LoadRequest(into, strict, verify or self.config.storage.verify)
