"""Measure ours beside a peer and a floor, in turn, and report how they compare.

::

    round 1   ours  peer  floor      One round is a pair: what the machine does meanwhile hits both sides alike,
    round 2   ours  peer  floor      so the ratio is taken within each round and the median over the rounds.
    ...

A benchmark is a script that describes its comparisons and calls `main`; its exit status is 0 whatever holds, and 2
where something could not be measured at all.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Measurement = Callable[[], float]
"""Does the work once and returns one number in the comparison's unit."""

PAIRS, QUICK_PAIRS = 7, 3
CONFIDENCE = 0.90
_RESAMPLES = 2_000


class CannotMeasure(Exception):
    """Raise this inside a measurement that is impossible here, with a sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of a benchmark."""

    measure: str
    """What is measured, in words."""
    unit: str
    ours: Measurement
    peer: str
    """Name and version of what ours is compared with."""
    peer_measurement: Measurement | None
    """None where the peer is not installed: the row then names it as missing."""
    floor: Measurement | None = None
    """The least that the machine allows, or that both sides pay alike."""
    subtract_floor: bool = False
    """Take each round's floor off both sides before they are compared."""
    bar: float | None = None
    """What the ratio ours / peer must reach, or None where there is no such promise."""
    better: Literal["lower", "higher"] = "lower"


@dataclass(frozen=True, slots=True)
class Result:
    """What a comparison gave. `low` and `high` are the ends of the 90 % interval of `ratio`."""

    comparison: Comparison
    ours: float
    peer_value: float | None
    floor: float | None
    ratio: float | None
    low: float | None
    high: float | None

    @property
    def holds(self) -> bool | None:
        """Whether the interval reaches the bar; None without a bar or a peer."""
        bar = self.comparison.bar
        if bar is None or self.low is None or self.high is None:
            return None
        return self.low <= bar if self.comparison.better == "lower" else self.high >= bar

    def row(self) -> dict[str, str | float | bool | None]:
        """Return the row as it goes into the JSON file."""
        missing = self.peer_value is None
        return {
            "measure": self.comparison.measure,
            "ours": self.ours,
            "unit": self.comparison.unit,
            "peer": f"{self.comparison.peer} (missing)" if missing else self.comparison.peer,
            "peer_value": self.peer_value,
            "ratio": self.ratio,
            "floor": self.floor,
            "bar": self.comparison.bar,
            "holds": self.holds,
        }

    def line(self) -> str:
        """Return the row as it is printed."""
        row, unit = self.row(), self.comparison.unit
        text = f"{row['measure']}: {self.ours:.4g} {unit}; {row['peer']}"
        if self.peer_value is not None:
            text += f": {self.peer_value:.4g} {unit}; ratio {self.ratio:.3g} [{self.low:.3g} .. {self.high:.3g}]"
        if self.floor is not None:
            text += f"; floor {self.floor:.4g} {unit}" + (" (taken off)" if self.comparison.subtract_floor else "")
        if self.holds is not None:
            sign = "<=" if self.comparison.better == "lower" else ">="
            text += f"; bar {sign} {self.comparison.bar:g}: {'holds' if self.holds else 'DOES NOT HOLD'}"
        return text


def compare(comparison: Comparison, *, pairs: int) -> Result:
    """Measure every side once to warm up, then `pairs` times in turn.

    Raises `CannotMeasure`, from a measurement or because a peer's value is not positive.
    """
    sides = [comparison.ours, comparison.peer_measurement, comparison.floor]
    for side in sides:
        if side is not None:
            side()
    rounds = [[None if side is None else side() for side in sides] for _ in range(pairs)]

    ours, peers, floors = ([each[side] for each in rounds] for side in range(3))
    if comparison.subtract_floor and comparison.floor is not None:
        ours = [value - floor for value, floor in zip(ours, floors, strict=True)]
        peers = [None if value is None else value - floor for value, floor in zip(peers, floors, strict=True)]
    floor = statistics.median(floors) if comparison.floor is not None else None
    if comparison.peer_measurement is None:
        return Result(comparison, statistics.median(ours), None, floor, None, None, None)
    if min(peers) <= 0:
        raise CannotMeasure(f"{comparison.measure}: {comparison.peer} gave {min(peers):.4g}, too small to divide by")
    ratios = [mine / theirs for mine, theirs in zip(ours, peers, strict=True)]
    low, high = interval_of_median(ratios)
    return Result(
        comparison, statistics.median(ours), statistics.median(peers), floor, statistics.median(ratios), low, high
    )


def interval_of_median(values: Sequence[float], *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the ends of the median's interval, by the percentile bootstrap (Efron 1979), the same at every call."""
    source = random.Random(0)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    cut = round((1 - confidence) / 2 * _RESAMPLES)
    return medians[cut], medians[-1 - cut]


def seconds(work: Callable[[], object]) -> float:
    """Return how many seconds `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(
    description: str, describe: Callable[[bool], Sequence[Comparison]], arguments: Sequence[str] | None = None
) -> int:
    """Run a benchmark from the command line and return its exit status.

    `describe` gets whether --quick was asked for, and returns the comparisons: the same ones, with smaller sizes.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs and smaller sizes, within 60 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE")
    options = parser.parse_args(arguments)
    results = []
    try:
        for comparison in describe(options.quick):
            results.append(compare(comparison, pairs=QUICK_PAIRS if options.quick else PAIRS))
            print(results[-1].line(), flush=True)
    except CannotMeasure as why:
        print(f"could not measure: {why}", file=sys.stderr)
    else:
        if options.json:
            options.json.write_text(json.dumps([result.row() for result in results], indent=1) + "\n", "utf-8")
        return 0
    return 2
