"""Finds the checkpoint that a short word means: an id, an alias, ``latest``, ``best:val_loss``, ``tag:candidate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from model_checkpoint.common.numbers import metric_mode
from model_checkpoint.errors import CheckpointNotFoundError, ConfigurationError, MetricError

if TYPE_CHECKING:
    from model_checkpoint.contracts import CheckpointRecord, RecordStore, RunRecord

_HOW = "an id, an alias, 'latest', 'best:<metric>' or 'tag:<tag>'"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where words look: in one run, in one experiment, or everywhere."""

    run_id: str | None = None
    experiment_id: str | None = None
    name: str = "this record store"
    metric_modes: Mapping[str, str] = field(default_factory=dict)
    """Better directions that the user stated, by metric."""

    @classmethod
    def of(
        cls,
        records: RecordStore,
        own: RunRecord | None,
        run: str | None,
        experiment: str | None,
        metric_modes: Mapping[str, str],
    ) -> Scope:
        """Return where a process looks: in its own run, else in the run or the experiment that it means to work on."""
        if own is not None:
            return cls(run_id=own.id, name="this run", metric_modes=metric_modes)
        if run is not None:
            named = records.get_run(run)
            return cls(run_id=named.id if named else "", name=f"run {run!r}", metric_modes=metric_modes)
        if experiment is not None:
            home, name = records.get_experiment(experiment), f"experiment {experiment!r}"
            return cls(experiment_id=home.id if home else "", name=name, metric_modes=metric_modes)
        return cls(metric_modes=metric_modes)

    def experiment(self, records: RecordStore) -> str | None:
        """Return the id of the experiment that this is in, or None for all of them."""
        run = records.get_run(self.run_id) if self.run_id and self.experiment_id is None else None
        return run.experiment_id if run else self.experiment_id

    def newest(
        self, records: RecordStore, *, tag: str | None = None, damaged: bool = True, limit: int | None = None
    ) -> list[CheckpointRecord]:
        """Return the checkpoints in here, the newest first."""
        return records.list_checkpoints(
            run_id=self.run_id, experiment_id=self.experiment_id, tag=tag, include_damaged=damaged, limit=limit
        )

    def best(self, records: RecordStore, metric: str, mode: str | None) -> CheckpointRecord | None:
        """Return the best checkpoint in here, or None. Raises ``MetricError`` where the direction is unclear."""
        mode = checked_mode(metric, mode or self.metric_modes.get(metric))
        return records.best_checkpoint(metric=metric, mode=mode, run_id=self.run_id, experiment_id=self.experiment_id)


def resolve(records: RecordStore, which: object, scope: Scope) -> CheckpointRecord:
    """Return the one checkpoint that `which` means; an id is known everywhere, other words look in `scope`.

    ``best:METRIC`` infers whether less is better from the name; ``best:METRIC:min`` and ``:max`` say it.
    Raises ``CheckpointNotFoundError`` that says what there is instead.
    """
    if not isinstance(which, str):
        raise ConfigurationError(f"{which!r} ({type(which).__name__}) names no checkpoint: give {_HOW}")
    word, _, rest = which.partition(":")
    if which == "latest":
        found = scope.newest(records, damaged=False, limit=1) or scope.newest(records, limit=1)  # it may be mended
    elif word == "tag" and rest:
        found = scope.newest(records, tag=rest, damaged=False, limit=1)
    elif word == "best":
        metric, mode = _metric_and_mode(rest or "val_loss")
        try:
            best = scope.best(records, metric, mode)
        except MetricError:
            _refuse_unknown_metric(records, scope, metric)
            raise
        if best is None:
            _refuse_unknown_metric(records, scope, metric)
        found = [best] if best else []
    else:
        record = records.get_checkpoint(which) or records.find_alias(which, experiment_id=scope.experiment(records))
        found = [record] if record else []
    if found:
        return found[0]
    raise CheckpointNotFoundError(_not_found(records, which, scope))


def _refuse_unknown_metric(records: RecordStore, scope: Scope, metric: str) -> None:
    """Raise ``CheckpointNotFoundError`` that offers the nearest, where the newest checkpoints have other metrics."""
    known = {name for record in scope.newest(records, limit=200) for name in record.metrics}
    if known and metric not in known:
        near = get_close_matches(metric, sorted(known), n=1)
        hint = f" Did you mean 'best:{near[0]}'?" if near else ""
        raise CheckpointNotFoundError(
            f"no checkpoint 'best:{metric}' in {scope.name}: the newest have only {', '.join(sorted(known))}.{hint}"
        )


def checked_mode(metric: str, mode: str | None) -> str:
    """Return ``min`` or ``max``, inferred from the metric's name where `mode` is None. Raises ``MetricError``."""
    if not isinstance(metric, str):
        raise MetricError(f"a metric is named by a string, not {metric!r}")
    if mode in ("min", "max"):
        return mode
    if mode is not None:
        raise MetricError(f"mode={mode!r} is neither 'min' nor 'max'")
    inferred = metric_mode(metric)
    if inferred is None:
        raise MetricError(
            f"whether a smaller or a larger {metric!r} is better cannot be told from its name: say mode='min' or"
            " mode='max'"
        )
    return inferred


def _metric_and_mode(text: str) -> tuple[str, str | None]:
    metric, _, mode = text.rpartition(":")
    return (metric, mode) if mode in ("min", "max") and metric else (text, None)


def _not_found(records: RecordStore, which: str, scope: Scope) -> str:
    known = scope.newest(records, limit=200)
    if not known:
        return f"no checkpoint {which!r}: nothing was saved in {scope.name} yet"
    near = get_close_matches(which, [record.id for record in known], n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    count = f"{len(known)}" if len(known) < 200 else "200 or more"
    damaged = sum(bool(record.damage) for record in known)
    note = f" ({damaged} of them damaged)" if damaged else ""
    return (
        f"no checkpoint {which!r} in {scope.name}.{hint} There are {count}{note}; the newest is {known[0].id!r}."
        f" Ask for {_HOW}"
    )
