"""Folds every metric into a handful of numbers, in constant memory and constant time per point.

Mean and standard deviation follow Welford (Technometrics 4, 1962), with one change: what is carried along is the
standard deviation of the population itself, not the sum of squares::

    delta  = x - mean
    mean  += delta / n
    spread = hypot(spread * sqrt((n - 1) / n), delta * sqrt(n - 1) / n)

A square of 1e200 overflows and a square of 1e-200 vanishes; ``hypot`` squares neither. The spread never exceeds half
the distance from min to max, so it is a finite float whenever the points are.
"""

from __future__ import annotations

import math
import threading
from dataclasses import asdict

from model_checkpoint.contracts import JSON, MetricAggregate

_EXACT_IN_JSON = 2**53
"""Integers beyond this are rounded by readers that hold every number as a double."""


class StreamingAggregates:
    """The analyzer ``metrics``. Safe to call from several threads.

    Minimum, maximum and last are exact, ints of any size included; of equal values the first step counts. A metric that
    met an int beyond the range of a float (about 1.8e308) has no mean and no standard deviation any more. A standard
    deviation that is itself beyond that range is ``inf``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folds: dict[str, _Fold] = {}

    def observe(self, name: str, value: float, step: int | None = None) -> MetricAggregate:
        """Fold `value` in and return what is known of the metric `name` now."""
        with self._lock:
            fold = self._folds.get(name)
            if fold is None:
                fold = self._folds[name] = _Fold()
            fold.add(value, step)
            return fold.aggregate()

    def aggregates(self) -> dict[str, MetricAggregate]:
        """Return what is known of every metric, in the order in which they were first seen."""
        with self._lock:
            return {name: fold.aggregate() for name, fold in self._folds.items()}

    def report(self) -> dict[str, JSON]:
        """Return the aggregates as JSON that loses nothing.

        Floats that JSON lacks are the words ``"nan"``, ``"inf"`` and ``"-inf"``; ints beyond 2**53 are strings in hex.
        """
        return {
            name: {field: _as_json(value) for field, value in asdict(aggregate).items()}
            for name, aggregate in self.aggregates().items()
        }


class _Fold:
    __slots__ = (
        "beyond_float",
        "count",
        "finite",
        "last",
        "last_step",
        "max",
        "max_step",
        "mean",
        "min",
        "min_step",
        "spread",
    )

    def __init__(self) -> None:
        self.count = self.finite = 0
        self.last: float = math.nan
        self.min: float | None = None
        self.max: float | None = None
        self.last_step: int | None = None
        self.min_step: int | None = None
        self.max_step: int | None = None
        self.mean = self.spread = 0.0
        self.beyond_float = False

    def add(self, value: float, step: int | None) -> None:
        self.count += 1
        self.last, self.last_step = value, step
        if isinstance(value, float) and not math.isfinite(value):
            return
        self.finite += 1
        if self.min is None or value < self.min:
            self.min, self.min_step = value, step
        if self.max is None or value > self.max:
            self.max, self.max_step = value, step
        if not self.beyond_float:
            try:
                self._spread_over(float(value))
            except OverflowError:  # an int that no float can hold
                self.beyond_float = True

    def _spread_over(self, x: float) -> None:
        n = self.finite
        if n == 1:
            self.mean = x
            return
        delta, scale = x - self.mean, 1.0
        if math.isinf(delta):  # the two lie further apart than a float reaches: go on in units of two
            delta, scale = x / 2 - self.mean / 2, 2.0
        self.mean += delta * (scale / n)
        self.spread = math.hypot(self.spread * math.sqrt((n - 1) / n), delta * (scale * math.sqrt(n - 1) / n))

    def aggregate(self) -> MetricAggregate:
        n = self.finite
        known = n > 0 and not self.beyond_float
        return MetricAggregate(
            count=self.count,
            non_finite=self.count - n,
            last=self.last,
            last_step=self.last_step,
            min=self.min,
            min_step=self.min_step,
            max=self.max,
            max_step=self.max_step,
            mean=self.mean if known else None,
            std=self.spread * math.sqrt(n / (n - 1)) if known and n > 1 else None,
        )


def _as_json(value: int | float | None) -> JSON:
    if isinstance(value, int) and abs(value) > _EXACT_IN_JSON:
        return hex(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
