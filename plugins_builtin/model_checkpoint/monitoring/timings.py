"""Counts, times and bytes per operation, in constant memory, with percentiles.

::

    observe -> deque of at most FOLD_AT samples -> totals and a DDSketch per operation
               (an append, no lock)                (one thread at a time)

The sketch (Masson, Rim, Lee; VLDB 2019) answers a percentile with a relative error of at most 1 %.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from model_checkpoint.errors import MetricError

if TYPE_CHECKING:
    from ddsketch import LogCollapsingLowestDenseDDSketch

FOLD_AT = 256
"""Samples that wait before whoever adds the next one folds them."""
RELATIVE_ERROR = 0.01
LONGEST_S = 1e15
"""Thirty million years: sums and percentiles of what is shorter are finite, too."""
_BINS = 2048  # sixteen orders of magnitude or more apart; beyond that the shortest durations share a bin


@dataclass(frozen=True, slots=True)
class OperationTiming:
    """What is known of one operation. Durations in seconds, sizes in bytes; all 0 where nothing was observed."""

    count: int = 0
    """How often it succeeded."""
    errors: int = 0
    """How often it failed."""
    total_s: float = 0.0
    max_s: float = 0.0
    p50_s: float = 0.0
    p95_s: float = 0.0
    p99_s: float = 0.0
    nbytes: int = 0
    nbytes_written: int = 0

    @property
    def mean_s(self) -> float:
        """Mean duration in seconds."""
        return self.total_s / self.count if self.count else 0.0

    @property
    def throughput_mb_s(self) -> float:
        """Megabytes (1e6 bytes) of ``nbytes`` per second of ``total_s``."""
        return self.nbytes / self.total_s / 1e6 if self.total_s else 0.0


class _Sample(NamedTuple):
    operation: str
    duration_s: float = 0.0
    nbytes: int = 0
    nbytes_written: int = 0
    failed: bool = False


class OperationTimings:
    """Times operations by name. Safe to call from several threads."""

    def __init__(self) -> None:
        self._waiting: deque[_Sample] = deque()
        self._lock = threading.Lock()
        self._totals: dict[str, _Totals] = {}

    def observe(self, operation: str, duration_s: float, *, nbytes: int = 0, nbytes_written: int = 0) -> None:
        """Count one success of `operation`, with how long it took and how many bytes it moved.

        Raises ``MetricError`` for a duration that is negative, not finite, or longer than anything ever takes.
        """
        if not 0.0 <= duration_s <= LONGEST_S:
            raise MetricError(
                f"{operation!r} cannot have taken {str(duration_s)[:40]} s: give a finite duration in seconds of at"
                f" least 0 and at most {LONGEST_S:g}"
            )
        self._add(_Sample(operation, duration_s, nbytes, nbytes_written))

    def failed(self, operation: str) -> None:
        """Count one failure of `operation`; it has no part in counts, durations and bytes."""
        self._add(_Sample(operation, failed=True))

    def snapshot(self) -> dict[str, OperationTiming]:
        """Return what is known of every operation that was ever observed, by name."""
        with self._lock:
            self._fold()
            return {operation: totals.timing() for operation, totals in self._totals.items()}

    def _add(self, sample: _Sample) -> None:
        self._waiting.append(sample)  # atomic: no lock on the way of whoever is being timed
        if len(self._waiting) >= FOLD_AT:
            with self._lock:
                self._fold()

    def _fold(self) -> None:
        for _ in range(len(self._waiting)):  # counted beforehand, so that busy writers cannot hold the folder here
            sample = self._waiting.popleft()
            totals = self._totals.get(sample.operation)
            if totals is None:
                totals = self._totals[sample.operation] = _Totals()
            totals.add(sample)


class _Totals:
    __slots__ = ("count", "errors", "max_s", "nbytes", "nbytes_written", "sketch", "total_s")

    def __init__(self) -> None:
        self.count = self.errors = self.nbytes = self.nbytes_written = 0
        self.total_s = self.max_s = 0.0
        self.sketch = _new_sketch()

    def add(self, sample: _Sample) -> None:
        if sample.failed:
            self.errors += 1
            return
        self.count += 1
        self.total_s += sample.duration_s
        self.max_s = max(self.max_s, sample.duration_s)
        self.nbytes += sample.nbytes
        self.nbytes_written += sample.nbytes_written
        self.sketch.add(sample.duration_s)

    def timing(self) -> OperationTiming:
        return OperationTiming(
            count=self.count,
            errors=self.errors,
            total_s=self.total_s,
            max_s=self.max_s,
            p50_s=self._percentile(0.50),
            p95_s=self._percentile(0.95),
            p99_s=self._percentile(0.99),
            nbytes=self.nbytes,
            nbytes_written=self.nbytes_written,
        )

    def _percentile(self, quantile: float) -> float:
        found = self.sketch.get_quantile_value(quantile)
        return 0.0 if found is None else min(float(found), self.max_s)  # the middle of a bin may lie beyond its points


def _new_sketch() -> LogCollapsingLowestDenseDDSketch:
    from ddsketch import LogCollapsingLowestDenseDDSketch

    return LogCollapsingLowestDenseDDSketch(RELATIVE_ERROR, _BINS)
