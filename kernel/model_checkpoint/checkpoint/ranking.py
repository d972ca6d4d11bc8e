"""Decides which best flags a new checkpoint takes from the holders before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from model_checkpoint.common.numbers import metric_mode
from model_checkpoint.contracts import BestFlag, CheckpointRecord

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.services import Services

PRIMARY = ("val_loss", "loss")
"""By what a checkpoint is simply "the best", in this order."""


def flags_won(services: Services, record: CheckpointRecord, held: Mapping[str, BestFlag]) -> list[BestFlag]:
    """Return the flags that `record` wins: finite, of known direction, and strictly better than the holder.

    Of two equal values the earlier checkpoint keeps the flag. A ``compare_checkpoints`` hook may decide otherwise: it
    gets the new record, the holder's record, metric and mode, and returns a positive number where the new one wins.
    """
    won = []
    for metric, value in record.metrics.items():
        mode = services.metric_modes.get(metric) or metric_mode(metric)
        if mode is None or (isinstance(value, float) and not math.isfinite(value)):  # an int may be beyond a float
            continue
        holder = held.get(metric)
        if holder is None or _better(services, record, value, holder, mode):
            won.append(BestFlag(record.run_id, metric, mode, record.id, value))
    return won


def primary_metric(metrics: Mapping[str, object]) -> str:
    """Return the metric by which "the best" is meant where nobody said: ``val_loss``, else ``loss``."""
    return next((name for name in PRIMARY if name in metrics), PRIMARY[0])


def _better(services: Services, record: CheckpointRecord, value: float, holder: BestFlag, mode: str) -> bool:
    if services.hooks.live("compare_checkpoints"):
        other = services.records.get_checkpoint(holder.checkpoint_id)
        verdict = services.hooks.caller("compare_checkpoints")(a=record, b=other, metric=holder.metric, mode=mode)
        if verdict is not None:
            return bool(verdict > 0)
    return value < holder.value if mode == "min" else value > holder.value
