"""What the pipelines work with, and the thread of one operation through its hooks."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from model_checkpoint.common.clock import now_s
from model_checkpoint.common.ids import random_id
from model_checkpoint.contracts import Mark
from model_checkpoint.errors import CheckpointEngineError, CheckpointNotFoundError, StorageError

if TYPE_CHECKING:
    from model_checkpoint.contracts import (
        Analyzer,
        CheckpointRecord,
        FrameworkAdapter,
        MarkKeeper,
        RecordStore,
        RunRecord,
        StorageBackend,
    )
    from model_checkpoint.hooks import FireReport, HookEvent, HookManager

_log = logging.getLogger("model_checkpoint")


class Adapters(Protocol):
    """Framework adapters, created when first needed."""

    def for_package(self, package: str) -> FrameworkAdapter | None:
        """Return the adapter that knows a top-level package, or None."""

    def for_object(self, obj: object) -> FrameworkAdapter | None:
        """Return the adapter that captures and restores `obj`, or None for plain values."""

    def loaded(self) -> Mapping[str, FrameworkAdapter]:
        """Return by name the adapters whose framework this process already imported."""

    def named(self, name: str) -> FrameworkAdapter | None:
        """Return the adapter of that name, or None."""


class Backends(Protocol):
    """Storage backends, opened when first needed."""

    def open(self, name: str) -> StorageBackend:
        """Return the backend. Raises ``UnknownBackendError``."""

    @property
    def default(self) -> str:
        """The name of the backend that is used unless told otherwise."""


class Refs(Protocol):
    """Small files that point at checkpoints, for people and other tools."""

    def move(self, run_name: str, name: str, checkpoint_id: str) -> None:
        """Let ``runs/<run_name>/<name>`` point at a checkpoint, atomically."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a pipeline needs from the kernel."""

    hooks: HookManager
    records: RecordStore
    adapters: Adapters
    backends: Backends
    refs: Refs
    rank: int = field(default_factory=lambda: int(os.environ.get("RANK", "0") or 0))
    world_size: int = field(default_factory=lambda: int(os.environ.get("WORLD_SIZE", "1") or 1))
    metric_modes: Mapping[str, str] = field(default_factory=dict)
    """Better directions (``min`` or ``max``) that the user stated, by metric."""


class Operation:
    """One operation: its before, after and error events share an id and a ``user_data`` dict."""

    __slots__ = ("_common", "_services")

    def __init__(self, services: Services, run: RunRecord | None = None, *, origin: str = "script") -> None:
        self._services = services
        self._common: dict[str, object] = {
            "operation_id": random_id(),
            "user_data": {},
            "origin": origin,
            "rank": services.rank,
            "world_size": services.world_size,
        }
        if run is not None:
            self._common |= {"experiment_id": run.experiment_id, "run_id": run.id, "run_name": run.name}

    def about(self, checkpoint: str | CheckpointRecord) -> None:
        """From here on, every event names this checkpoint, and its run where the operation has none of its own."""
        if isinstance(checkpoint, str):
            self._common["checkpoint_id"] = checkpoint
            return
        run = {name: getattr(checkpoint, name) for name in ("experiment_id", "run_id", "run_name")}
        self._common = {**run, **self._common, "checkpoint_id": checkpoint.id}

    def fire(self, event: HookEvent, **fields: object) -> FireReport:
        """Fire `event` with what all events of this operation share. Raises ``OperationVetoed``."""
        return self._services.hooks.fire(event, **{**self._common, **fields})


@dataclass(slots=True)
class RunState:
    """What a process remembers of the run that it is writing."""

    record: RunRecord
    metrics: Analyzer | None = None
    parent_id: str | None = None
    """The checkpoint that the next one continues from."""
    generation: int | None = None
    """How many checkpoints the run had when this process last committed one; None before that."""
    _pending: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, name: str, value: float) -> None:
        """Remember the last value of a metric for the next checkpoint. Other threads go on doing so during a save."""
        with self.lock:
            self._pending[name] = value

    def take_pending(self) -> dict[str, float]:
        """Return the last value of every metric noted since this was last called, and forget them."""
        with self.lock:
            taken, self._pending = self._pending, {}
            return taken

    def put_back(self, taken: Mapping[str, float]) -> None:
        """Remember again what a save that failed had taken; what was noted meanwhile is newer."""
        with self.lock:
            self._pending = {**taken, **self._pending}


def mark_damaged(services: Services, checkpoint_id: str, damage: str) -> None:
    """Write or clear the mark. Where that cannot be done a warning says so: the damage itself is what must be told."""
    try:
        record = services.records.get_checkpoint(checkpoint_id)
        services.records.mark_damaged(checkpoint_id, damage)
        if record is not None and bool(record.damage) != bool(damage):
            backend = services.backends.open(record.backend)
            if backend.capabilities.keeps_marks:
                cast("MarkKeeper", backend).add_mark(Mark(checkpoint_id, "damage", "", damage or None, now_s()))
    except CheckpointEngineError as error:
        _log.warning("checkpoint %s could not be marked (%s): %s", checkpoint_id, damage or "sound again", error)


def refuse_empty(backend: StorageBackend, record: CheckpointRecord) -> None:
    """Raise ``StorageError`` where a backend holds nothing at all, though something is recorded in it.

    It is no ``IntegrityError``: nothing is marked as damaged, nothing is passed over.
    """
    if backend.capabilities.durable and next(iter(backend.list_ids()), None) is None:
        raise StorageError(
            f"checkpoint {record.id} is recorded, and the storage backend {record.backend!r} holds no checkpoint at"
            " all: is the disk of its checkpoint_dir there? Nothing was marked as damaged"
        )


def path_or_none(backend: StorageBackend, checkpoint_id: str) -> Path | None:
    """Return the file that other tools open, or None where there is none or it is gone."""
    try:
        return backend.file_path(checkpoint_id)
    except (CheckpointNotFoundError, OSError):
        return None
