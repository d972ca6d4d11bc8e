"""Finds the checkpoint that a short word means: an id, ``latest``, ``best:val_loss``, ``tag:candidate``."""

from __future__ import annotations

from difflib import get_close_matches

from model_checkpoint.common.numbers import metric_mode
from model_checkpoint.contracts import CheckpointRecord, RecordStore
from model_checkpoint.errors import CheckpointNotFoundError, MetricError


def resolve(records: RecordStore, which: str, *, run_id: str | None) -> CheckpointRecord:
    """Return the one checkpoint that `which` means; words other than an id look at the run, or everywhere without one.

    ``best:METRIC`` infers whether less is better from the name; ``best:METRIC:min`` and ``:max`` say it.
    Raises ``CheckpointNotFoundError`` that says what there is instead.
    """
    word, _, rest = which.partition(":")
    if which == "latest":
        found = records.list_checkpoints(run_id=run_id, include_damaged=False, limit=1)
    elif word == "tag" and rest:
        found = records.list_checkpoints(run_id=run_id, tag=rest, include_damaged=False, limit=1)
    elif word == "best":
        metric, mode = _metric_and_mode(rest or "val_loss")
        best = records.best_checkpoint(metric=metric, mode=mode, run_id=run_id)
        found = [best] if best else []
    else:
        record = records.get_checkpoint(which)
        found = [record] if record else []
    if found:
        return found[0]
    raise CheckpointNotFoundError(_not_found(records, which, run_id))


def checked_mode(metric: str, mode: str | None) -> str:
    """Return ``min`` or ``max``, inferred from the metric's name where `mode` is None. Raises ``MetricError``."""
    if mode in ("min", "max"):
        return mode
    if mode is not None:
        raise MetricError(f"mode={mode!r} is neither 'min' nor 'max'")
    inferred = metric_mode(metric)
    if inferred is None:
        raise MetricError(
            f"whether a smaller or a larger {metric!r} is better cannot be told from its name: say mode='min' or mode='max'"
        )
    return inferred


def _metric_and_mode(text: str) -> tuple[str, str]:
    metric, _, mode = text.rpartition(":")
    if mode in ("min", "max") and metric:
        return metric, mode
    return text, checked_mode(text, None)


def _not_found(records: RecordStore, which: str, run_id: str | None) -> str:
    where = "in this run" if run_id else "in this record store"
    known = records.list_checkpoints(run_id=run_id, limit=200)
    if not known:
        return f"no checkpoint {which!r}: nothing was saved {where} yet"
    near = get_close_matches(which, [record.id for record in known], n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    damaged = sum(bool(record.damage) for record in known)
    note = f" ({damaged} of them damaged)" if damaged else ""
    return (
        f"no checkpoint {which!r} {where}.{hint} There are {len(known)}{note}; the newest is {known[0].id!r}."
        " Ask for an id, 'latest', 'best:<metric>' or 'tag:<tag>'"
    )
