"""What is counted of every hook, in constant memory.

Durations wait in a list, which costs the hot path one append, and are folded into a histogram whose buckets grow by a
sixteenth: a percentile is off by at most 4 %.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import NamedTuple

FOLD_AT = 4096
_SUB_BITS = 4  # sixteen buckets for each doubling


class HookStats(NamedTuple):
    """One line of ``hook_manager.stats()``. Durations in seconds."""

    plugin: str
    hook: str
    """The event, or the question that the hook answers."""
    function: str
    """Name of the function as it was written."""
    priority: int
    calls: int
    errors: int
    timeouts: int
    skipped: int
    """Calls that its condition, a veto of ``before_plugin_execute`` or a full background queue left out."""
    total_s: float
    max_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    quarantined: bool


class Tally:
    """The counts of one hook. Safe to use from several threads."""

    __slots__ = (
        "_buckets", "_lock", "_max_ns", "_total_ns", "consecutive", "consecutive_timeouts", "durations_ns", "errors",
        "finished", "skipped", "timeouts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.durations_ns: list[int] = []
        """Of calls that ended since the last fold."""
        self.finished = self.errors = self.timeouts = self.skipped = 0
        self.consecutive = self.consecutive_timeouts = 0
        self._total_ns = self._max_ns = 0
        self._buckets: dict[int, int] = {}
        self._lock = threading.Lock()

    def fold(self) -> None:
        """Move the waiting durations into the histogram."""
        with self._lock:
            count = len(self.durations_ns)
            batch = self.durations_ns[:count]
            del self.durations_ns[:count]
            batch.sort()  # then a bucket is a slice: 30 ns a duration instead of 220
            start = 0
            while start < count:
                bucket = _bucket(batch[start])
                end = bisect_left(batch, _end_ns(bucket), start)
                self._buckets[bucket] = self._buckets.get(bucket, 0) + end - start
                start = end
            self.finished += count
            self._total_ns += sum(batch)
            self._max_ns = max(self._max_ns, *batch, 0)

    def line(self, plugin: str, hook: str, function: str, priority: int, *, quarantined: bool) -> HookStats:
        """Return everything as a value."""
        self.fold()
        with self._lock:
            p50, p95, p99 = (self._percentile_s(fraction) for fraction in (0.50, 0.95, 0.99))
            return HookStats(
                plugin, hook, function, priority, self.finished, self.errors, self.timeouts, self.skipped,
                self._total_ns / 1e9, self._max_ns / 1e9, p50, p95, p99, quarantined,
            )  # fmt: skip

    def _percentile_s(self, fraction: float) -> float:
        wanted, seen = fraction * self.finished, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_middle_ns(bucket), self._max_ns) / 1e9
        return 0.0


def _bucket(duration_ns: int) -> int:
    shift = max(duration_ns.bit_length() - _SUB_BITS - 1, 0)
    return (shift << (_SUB_BITS + 1)) + (duration_ns >> shift)


def _end_ns(bucket: int) -> int:
    shift, head = bucket >> (_SUB_BITS + 1), bucket & ((1 << (_SUB_BITS + 1)) - 1)
    return (head + 1) << shift


def _middle_ns(bucket: int) -> float:
    shift, head = bucket >> (_SUB_BITS + 1), bucket & ((1 << (_SUB_BITS + 1)) - 1)
    return (head + 0.5) * (1 << shift) if shift else float(head)
