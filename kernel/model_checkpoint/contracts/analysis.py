"""The contract of an analyzer: it folds a stream of observations into numbers that are ready at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from model_checkpoint.contracts.state import JSON


@dataclass(frozen=True, slots=True)
class MetricAggregate:
    """What is known of one metric in constant memory. NaN and infinities are counted apart and left out of the rest."""

    count: int
    """All points, non-finite ones included."""
    non_finite: int
    last: float
    last_step: int | None
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None
    mean: float | None
    std: float | None
    """Sample standard deviation (n - 1); None below two finite points."""


class Analyzer(Protocol):
    """Folds observations; safe to call from several threads."""

    def observe(self, name: str, value: float, step: int | None = None) -> object:
        """Fold one value in and return the aggregate of `name`."""

    def report(self) -> Mapping[str, JSON]:
        """Return everything known so far, as JSON."""


@dataclass(frozen=True, slots=True)
class AnalyzerDescriptor:
    """What ``register_analyzers`` returns for each analyzer."""

    name: str
    """What it is asked for by: ``metrics`` and ``performance`` are built in."""
    create: Callable[[], Analyzer]
    summary: str = ""
