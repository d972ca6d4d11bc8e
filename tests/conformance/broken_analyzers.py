"""For each rule of the kit an analyzer that breaks this one alone: the real one, with one thing wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from model_checkpoint.analytics.aggregation import StreamingAggregates
from model_checkpoint.contracts import Analyzer


class CountsEverySecond(StreamingAggregates):
    """What comes second does not show, whatever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.odd = False

    def observe(self, name, value, step=None):
        self.odd = not self.odd
        return super().observe(name, value, step) if self.odd else None


class CountsNamesWithNumbers(StreamingAggregates):
    """JSON would turn its keys into strings, and nobody finds them again."""

    def report(self):
        return dict(enumerate(super().report().values()))


class CannotBearInfinity(StreamingAggregates):
    def observe(self, name, value, step=None):
        if isinstance(value, float) and math.isinf(value):
            raise ValueError(f"{name} is infinite")
        return super().observe(name, value, step)


class HandsOutWhatItGoesOnWith(StreamingAggregates):
    def __init__(self) -> None:
        super().__init__()
        self.lines = {}

    def report(self):
        return self.lines

    def observe(self, name, value, step=None):
        super().observe(name, value, step)
        self.lines.update(super().report())


class SharesItsMemory(StreamingAggregates):
    def __init__(self) -> None:
        super().__init__()
        if not hasattr(type(self), "shared"):
            type(self).shared = self._folds
        self._folds = type(self).shared


class RemembersEverything(StreamingAggregates):
    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def observe(self, name, value, step=None):
        self.seen.append([name, value, step])
        return super().observe(name, value, step)


class LosesWhatComesAtOnce(StreamingAggregates):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def observe(self, name, value, step=None):
        count = self.count
        if name == "a" and value == 1.0 and step == 1:
            time.sleep(0.00001)  # long enough for another one to come
        self.count = count + 1
        return super().observe(name, value, step)

    def report(self):
        return {**super().report(), "observations": {"count": self.count}}


BROKEN: dict[int, Callable[[], Analyzer]] = {
    1: CountsEverySecond,
    2: CountsNamesWithNumbers,
    3: CannotBearInfinity,
    4: HandsOutWhatItGoesOnWith,
    5: SharesItsMemory,
    6: RemembersEverything,
    7: LosesWhatComesAtOnce,
}
