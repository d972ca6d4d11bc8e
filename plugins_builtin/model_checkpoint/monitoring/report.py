"""The performance report, and the analyzer ``performance`` that gives it."""

from __future__ import annotations

from collections.abc import Mapping

from model_checkpoint.contracts import JSON
from model_checkpoint.monitoring.timings import OperationTiming, OperationTimings

OPERATIONS = ("save", "load", "verify", "stage")
"""In every report, whether they happened or not."""


class PerformanceAnalyzer:
    """The analyzer ``performance``: one per kernel. Safe to call from several threads."""

    def __init__(self) -> None:
        self.timings = OperationTimings()

    def observe(self, name: str, value: float, step: int | None = None) -> None:
        """Count one success of the operation `name` that took `value` seconds; `step` plays no part."""
        self.timings.observe(name, value)

    def report(self) -> dict[str, JSON]:
        """Return the performance report so far; see `performance_report`."""
        return performance_report(self.timings.snapshot())


def performance_report(timings: Mapping[str, OperationTiming]) -> dict[str, JSON]:
    """Return ``{"operations": {name: {...}}}`` as JSON: durations in seconds, sizes in bytes.

    ``save`` is the whole of a save, ``stage`` the part of it that blocks the training loop even if writing does not,
    ``load`` the whole of a load, ``verify`` a check of stored bytes. ``count`` counts successes, and all durations and
    sizes are theirs; ``errors`` counts failures. A check that finds damage did its work: it is in the ``count`` of
    ``verify`` and in its ``errors``. ``throughput_mb_s`` is ``nbytes / total_s / 1e6``. What never happened is all 0.
    """
    empty = dict.fromkeys(OPERATIONS, OperationTiming())
    return {"operations": {name: _line(timing) for name, timing in {**empty, **timings}.items()}}


def _line(timing: OperationTiming) -> dict[str, JSON]:
    return {
        "count": timing.count,
        "errors": timing.errors,
        "total_s": timing.total_s,
        "mean_s": timing.mean_s,
        "p50_s": timing.p50_s,
        "p95_s": timing.p95_s,
        "p99_s": timing.p99_s,
        "max_s": timing.max_s,
        "nbytes": timing.nbytes,
        "nbytes_written": timing.nbytes_written,
        "throughput_mb_s": timing.throughput_mb_s,
    }
