"""The two clocks: one that people read, one that durations are measured with."""

from __future__ import annotations

import time


def now_s() -> float:
    """Return Unix time in seconds. It may jump; never subtract two of these to get a duration."""
    return time.time()


class Stopwatch:
    """Seconds since it was made, on a clock that never goes back."""

    __slots__ = ("_start_ns",)

    def __init__(self) -> None:
        self._start_ns = time.perf_counter_ns()

    @property
    def elapsed_s(self) -> float:
        """Seconds so far."""
        return (time.perf_counter_ns() - self._start_ns) / 1e9
