"""The two clocks."""

from __future__ import annotations

import time

import pytest

from model_checkpoint.common.clock import Stopwatch, now_s


def test_now_is_unix_time_in_seconds() -> None:
    before = time.time()
    assert before <= now_s() <= time.time()


def test_a_stopwatch_counts_seconds_from_when_it_was_made() -> None:
    watch, start = Stopwatch(), time.perf_counter()
    time.sleep(0.02)
    assert watch.elapsed_s == pytest.approx(time.perf_counter() - start, abs=0.01)


def test_a_stopwatch_never_goes_back_even_when_the_clock_of_the_day_does(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Stopwatch()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    seen = [watch.elapsed_s for _ in range(100)]
    assert seen == sorted(seen)
    assert seen[0] >= 0
