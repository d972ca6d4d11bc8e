"""Timings agree with the samples they were given, in constant memory and from many threads."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.errors import MetricError
from model_checkpoint.monitoring.timings import FOLD_AT, OperationTiming, OperationTimings

durations = st.floats(1e-9, 1e5)


def timed(samples: list[float]) -> OperationTiming:
    timings = OperationTimings()
    for duration_s in samples:
        timings.observe("save", duration_s, nbytes=10, nbytes_written=3)
    return timings.snapshot()["save"]


@given(st.lists(durations, min_size=1, max_size=3 * FOLD_AT))
def test_totals_are_exact_and_percentiles_within_one_percent(samples: list[float]) -> None:
    got = timed(samples)
    ordered = sorted(samples)

    assert (got.count, got.max_s) == (len(samples), ordered[-1])
    assert got.total_s == pytest.approx(math.fsum(samples))
    assert got.mean_s == pytest.approx(math.fsum(samples) / len(samples))
    assert (got.nbytes, got.nbytes_written) == (10 * len(samples), 3 * len(samples))
    for quantile, found in [(0.50, got.p50_s), (0.95, got.p95_s), (0.99, got.p99_s)]:
        true = ordered[math.floor(quantile * (len(ordered) - 1))]
        assert abs(found - true) <= 0.01 * true * (1 + 1e-9)
    assert got.p50_s <= got.p95_s <= got.p99_s <= got.max_s


def test_percentiles_tell_a_rare_slow_operation_from_the_rest() -> None:
    got = timed([0.001] * 980 + [5.0] * 20)

    assert got.p50_s == pytest.approx(0.001, rel=0.01)
    assert got.p95_s == pytest.approx(0.001, rel=0.01)
    assert got.p99_s == pytest.approx(5.0, rel=0.01)


def test_throughput_is_megabytes_per_second() -> None:
    timings = OperationTimings()
    timings.observe("load", 0.5, nbytes=3_000_000)
    timings.observe("load", 1.5, nbytes=5_000_000)

    assert timings.snapshot()["load"].throughput_mb_s == pytest.approx(4.0)


def test_durations_of_zero_divide_nothing() -> None:
    got = timed([0.0, 0.0])

    assert (got.count, got.mean_s, got.p99_s, got.throughput_mb_s) == (2, 0.0, 0.0, 0.0)


def test_failures_are_counted_apart() -> None:
    timings = OperationTimings()
    timings.observe("save", 1.0)
    timings.failed("save")
    timings.failed("load")

    assert (timings.snapshot()["save"].count, timings.snapshot()["save"].errors) == (1, 1)
    assert timings.snapshot()["load"] == OperationTiming(errors=1)


@pytest.mark.parametrize("duration_s", [-0.1, math.nan, math.inf])
def test_a_duration_that_cannot_be_is_refused(duration_s: float) -> None:
    timings = OperationTimings()

    with pytest.raises(MetricError, match="'save' cannot have taken"):
        timings.observe("save", duration_s)
    assert timings.snapshot() == {}


def test_samples_do_not_pile_up_until_somebody_asks() -> None:
    timings = OperationTimings()
    for _ in range(10 * FOLD_AT + 1):
        timings.observe("save", 0.1)

    assert len(timings._waiting) == 1
    assert timings.snapshot()["save"].count == 10 * FOLD_AT + 1


def test_threads_lose_no_sample_while_others_ask() -> None:
    timings = OperationTimings()

    def observe(thread: int) -> None:
        for k in range(3000):
            timings.observe("save", 0.01, nbytes=thread)
            if k % 500 == 0:
                timings.snapshot()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(observe, range(8)))
    got = timings.snapshot()["save"]
    assert (got.count, got.nbytes) == (24_000, 3000 * sum(range(8)))
