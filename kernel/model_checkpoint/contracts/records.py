"""The contract of a record store: experiments, runs, checkpoints, metrics, tags and events, in transactions.

The rules, numbered as ``model_checkpoint.testing.RecordStoreTests`` tests them:

1.  What was written is read back equal: metrics with NaN, infinities, -0.0, subnormals and integers beyond 2**53, any
    Unicode in names and tags, nested config. The sign of NaN alone may be lost.
2.  ``create_run`` without a name gives ``<experiment>-<n>``, n counting from 1 per experiment, and never the same name
    to two callers, threads or processes.
3.  ``commit_checkpoint`` writes the row, its metrics and tags and the best flags in one transaction: all or nothing.
    The row's ``sequence`` becomes the run's generation + 1, and that the run's new generation.
4.  It raises ``StaleGenerationError`` and writes nothing when the run's generation is not ``expected_generation``.
5.  A second row with the same id raises ``CheckpointExistsError`` and changes nothing.
6.  ``list_checkpoints`` and ``list_runs`` give the newest first: by sequence within a run, by creation between runs.
7.  ``best_checkpoint`` ranks finite values only, never a damaged checkpoint; of equals the earlier one wins. Marking a
    checkpoint as damaged hands its best flags to the best of the rest; clearing the mark gives them back.
8.  Points read back in the order of step, then of writing; of points with the same metric and step the last one wins.
9.  ``delete_checkpoint`` takes its metrics and tags with it, and hands its best flags to the best of the rest.
10. ``query_checkpoints`` binds every value; a query that cannot be read raises ``QuerySyntaxError`` with a position.
11. Opening a store from a newer version raises ``SchemaVersionError``; one from an older version is migrated. Several
    processes may open a new store at once.
12. All methods may be called from several threads and processes at once.
13. The last ``mark`` of a kind and name holds, and is part of the checkpoint's record; None takes it back.
14. ``restore_checkpoint`` writes a row with its own number, and its run, in one transaction; a run's generation never
    goes back.
15. A store that has ``version()`` (`Versioned`) gives another value after every write, whoever makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from model_checkpoint.contracts.marks import Mark
from model_checkpoint.contracts.state import JSON


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """A named series of runs."""

    id: str
    name: str
    created_at_s: float
    """Unix time in seconds, as everywhere in this file."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One training, across all the processes that resumed it."""

    id: str
    name: str
    experiment_id: str
    experiment_name: str
    status: RunStatus
    created_at_s: float
    ended_at_s: float | None = None
    last_step: int | None = None
    generation: int = 0
    """How many checkpoints were ever committed to it."""
    reason: str = ""
    """Why it ended, in words."""
    config: Mapping[str, JSON] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """What is known of a checkpoint without opening it."""

    id: str
    run_id: str
    run_name: str
    experiment_id: str
    created_at_s: float
    backend: str
    digest: str
    """SHA-256 in hex, as the backend's receipt gave it."""
    nbytes: int
    """Bytes of its tensors."""
    nbytes_written: int
    duration_s: float
    """How long the save took."""
    sequence: int = 0
    """Its number within the run, from 1; the store assigns it."""
    epoch: int | None = None
    step: int | None = None
    parent_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """With ``loss`` and ``val_loss`` among them where they were given."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Labels have an empty value."""
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    damage: str = ""
    """Empty, or what a verification found."""
    pinned: bool = False
    """Kept, whatever a policy would drop."""
    note: str = ""
    aliases: tuple[str, ...] = ()
    """Names that lead to it within its experiment, sorted."""
    best_for: tuple[str, ...] = ()
    """Metrics by which it is its run's best at this moment, sorted."""

    @property
    def loss(self) -> float | None:
        """The training loss, if one was given."""
        return self.metrics.get("loss")

    @property
    def val_loss(self) -> float | None:
        """The validation loss, if one was given."""
        return self.metrics.get("val_loss")


@dataclass(frozen=True, slots=True)
class BestFlag:
    """Which checkpoint of a run is the best by one metric."""

    run_id: str
    metric: str
    mode: str
    """``min`` or ``max``."""
    checkpoint_id: str
    value: float


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of one metric."""

    run_id: str
    name: str
    value: float
    """A float, or an int of any size."""
    step: int | None
    time_s: float
    epoch: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened to a run and is worth keeping."""

    run_id: str | None
    name: str
    time_s: float
    checkpoint_id: str | None = None
    details: Mapping[str, JSON] = field(default_factory=dict)


class RecordStore(Protocol):
    """Keeps what is known about runs and checkpoints. The module's docstring lists the rules."""

    @property
    def url(self) -> str:
        """Where it is, fit to be shown: no password."""

    def ensure_experiment(self, name: str, *, tags: Mapping[str, str] | None = None) -> ExperimentRecord:
        """Return the experiment of that name, creating it if need be; given `tags` are merged into its own."""

    def get_experiment(self, name: str) -> ExperimentRecord | None:
        """Return the experiment of that name, or None."""

    def create_run(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        config: Mapping[str, JSON] | None = None,
        tags: Mapping[str, str] | None = None,
        environment: Mapping[str, JSON] | None = None,
    ) -> RunRecord:
        """Create a run with status RUNNING. Raises ``InvalidNameError`` if the name is taken."""

    def get_run(self, name_or_id: str) -> RunRecord | None:
        """Return the run with that id or name, or None."""

    def list_runs(
        self,
        *,
        experiment_id: str | None = None,
        status: Collection[RunStatus] | None = None,
        limit: int | None = None,
    ) -> list[RunRecord]:
        """Return runs, the newest first."""

    def update_run(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        reason: str | None = None,
        last_step: int | None = None,
        ended_at_s: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Change the given fields; `tags` are merged. Setting RUNNING clears ``ended_at_s`` and ``reason``."""

    def commit_checkpoint(
        self, record: CheckpointRecord, *, best: Sequence[BestFlag], expected_generation: int
    ) -> CheckpointRecord:
        """Write a checkpoint's row and the best flags that it wins; return the row with its sequence number."""

    def get_checkpoint(self, checkpoint_id: str) -> CheckpointRecord | None:
        """Return the checkpoint with that id, or None."""

    def list_checkpoints(
        self,
        *,
        run_id: str | None = None,
        experiment_id: str | None = None,
        tag: str | None = None,
        include_damaged: bool = True,
        limit: int | None = None,
    ) -> list[CheckpointRecord]:
        """Return checkpoints, the newest first."""

    def best_flags(self, run_id: str) -> dict[str, BestFlag]:
        """Return the run's best flags by metric."""

    def best_checkpoint(
        self, *, metric: str, mode: str, run_id: str | None = None, experiment_id: str | None = None
    ) -> CheckpointRecord | None:
        """Return the best undamaged checkpoint by `metric` (`mode` is ``min`` or ``max``), or None."""

    def mark_damaged(self, checkpoint_id: str, damage: str) -> None:
        """Remember what a verification found; an empty `damage` clears the mark."""

    def mark(self, mark: Mark) -> None:
        """Let a mark hold, in place of an earlier one of its kind and name. Raises ``CheckpointNotFoundError``."""

    def find_alias(self, name: str, *, experiment_id: str | None = None) -> CheckpointRecord | None:
        """Return the newest checkpoint with that alias, or None."""

    def restore_checkpoint(
        self, record: CheckpointRecord, *, run: RunRecord, best: Sequence[BestFlag]
    ) -> CheckpointRecord:
        """Write the row of a stored checkpoint whose records were lost, and its run where that is not there.

        Both keep their ids. The row keeps its number, unless that is taken: then it gets the next one. The run's
        generation does not go back. Raises ``CheckpointExistsError``, ``InvalidNameError`` where another run has its
        name.
        """

    def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Remove the row. Raises ``CheckpointNotFoundError``."""

    def append_metrics(self, points: Sequence[MetricPoint]) -> None:
        """Write points in one transaction."""

    def read_metrics(self, run_id: str, *, name: str | None = None, max_step: int | None = None) -> list[MetricPoint]:
        """Return points by step; `max_step` leaves out later ones."""

    def append_event(self, event: EventRecord) -> None:
        """Write one event."""

    def read_events(self, *, run_id: str | None = None) -> list[EventRecord]:
        """Return events, the oldest first."""

    def query_checkpoints(self, query: str, *, limit: int | None = None) -> list[CheckpointRecord]:
        """Return what matches, such as ``metrics.val_loss < 0.2 and tags.stage = 'dev' order by step desc``."""

    def close(self) -> None:
        """Release connections. Closing twice is allowed."""


@runtime_checkable
class Versioned(Protocol):
    """What a record store has beside `RecordStore` whose answers the kernel may keep in memory (rule 15)."""

    def version(self) -> object:
        """Return a value, cheaply, that differs from all earlier ones after any write by anybody; None: ask always."""


@dataclass(frozen=True, slots=True)
class RecordStoreDescriptor:
    """What ``register_record_stores`` returns for each kind of store."""

    schemes: tuple[str, ...]
    """Schemes of the URLs it opens, such as ``("sqlite",)``."""
    open: Callable[[str], RecordStore]
    """Called with the whole URL."""
    summary: str = ""
    exists: Callable[[str], bool] | None = None
    """Says whether there is a store at the URL, and creates nothing. None: it cannot be told."""
