"""Streaming aggregates agree with the formulas over the whole list, worked out in fractions."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.analytics.aggregation import StreamingAggregates
from model_checkpoint.contracts import MetricAggregate

EPSILON = 2.0**-52
SMALLEST = 5e-324
floats = st.floats() | st.sampled_from([0.1, 1e308, -1e308, 1.7976931348623157e308, 1e200, 1e-200, 5e-324, -0.0])
numbers = floats | st.integers(-(2**70), 2**70)
series = st.lists(st.tuples(numbers, st.none() | st.integers(0, 9)), min_size=1, max_size=50)


def folded(points: list[tuple[float, int | None]]) -> MetricAggregate:
    aggregates = StreamingAggregates()
    for value, step in points:
        latest = aggregates.observe("x", value, step)
    assert repr(aggregates.aggregates()) == repr({"x": latest}), "what observe returns is what is kept; repr knows NaN"
    return latest


def exact_std(values: list[Fraction]) -> float:
    """Return the sample standard deviation, rounded once; inf where no float can hold it."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    shift = 2 * 1200  # keeps sixty bits and more of the root of the smallest variance there can be
    root = math.isqrt(variance.numerator * 2**shift // variance.denominator)
    try:
        return float(Fraction(root, 2 ** (shift // 2)))
    except OverflowError:
        return math.inf


@given(series)
def test_counts_extremes_and_last_are_exact(points: list[tuple[float, int | None]]) -> None:
    got = folded(points)
    finite = [(value, step) for value, step in points if math.isfinite(value)]

    assert (got.count, got.non_finite) == (len(points), len(points) - len(finite))
    assert repr((got.last, got.last_step)) == repr(points[-1])
    if finite:
        assert (got.min, got.min_step) == min(finite, key=lambda point: point[0]), "min() gives the first of equals"
        assert (got.max, got.max_step) == max(finite, key=lambda point: point[0])
    else:
        assert (got.min, got.min_step, got.max, got.max_step, got.mean) == (None,) * 5


@given(series)
def test_mean_and_std_agree_with_the_formulas_over_the_list(points: list[tuple[float, int | None]]) -> None:
    got = folded(points)
    values = [Fraction(value) for value, _ in points if math.isfinite(value)]

    if values:
        assert got.mean is not None
        slack = Fraction(4 * len(values) * EPSILON) * max(abs(value) for value in values)
        slack += len(values) * Fraction(SMALLEST)
        assert abs(Fraction(got.mean) - sum(values) / len(values)) <= slack
    if len(values) < 2:
        assert got.std is None
        return
    expected = exact_std(values)
    if math.inf in (expected, got.std):
        assert min(expected, got.std) >= 1.79e308  # the very last float before infinity may fall either way
    else:
        assert abs(Fraction(got.std) - Fraction(expected)) <= slack


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_the_mean_lies_between_the_extremes(values: list[float]) -> None:
    got = folded([(value, None) for value in values])

    assert got.min <= got.mean <= got.max


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(2, 100))
def test_a_constant_has_itself_as_mean_and_no_spread_at_all(value: float, times: int) -> None:
    got = folded([(value, step) for step in range(times)])

    assert (got.mean, got.std, got.min_step, got.max_step) == (value, 0.0, 0, 0)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e307])
def test_squares_neither_overflow_nor_vanish(scale: float) -> None:
    got = folded([(scale * k, k) for k in (1, 2, 3, 4)])

    assert got.std == pytest.approx(scale * math.sqrt(5 / 3), rel=1e-14)


def test_points_further_apart_than_a_float_reaches_have_a_mean() -> None:
    biggest = 1.7976931348623157e308
    got = folded([(biggest, 0), (-biggest, 1), (biggest, 2), (-biggest, 3)])

    assert got.mean == pytest.approx(0.0, abs=biggest * 1e-15)
    assert got.std == math.inf


def test_a_large_offset_does_not_swallow_the_spread() -> None:
    got = folded([(1e9 + k % 2, None) for k in range(1000)])

    assert got.std == pytest.approx(math.sqrt(250 / 999), rel=1e-6)


def test_ints_that_no_float_holds_are_compared_exactly_and_have_no_mean() -> None:
    got = folded([(10**400, 1), (10**400 + 1, 2), (0.5, 3), (-(10**400), 4)])

    assert (got.max, got.max_step, got.min, got.min_step) == (10**400 + 1, 2, -(10**400), 4)
    assert (got.count, got.non_finite, got.mean, got.std) == (4, 0, None, None)


def test_nan_and_infinities_are_counted_apart_and_may_be_last() -> None:
    got = folded([(1.0, 0), (math.nan, 1), (3.0, 2), (-math.inf, 3)])

    assert (got.count, got.non_finite, got.min, got.max, got.mean) == (4, 2, 1.0, 3.0, 2.0)
    assert (got.last, got.last_step) == (-math.inf, 3)
    assert got.std == pytest.approx(math.sqrt(2))


def test_metrics_do_not_mix_and_keep_the_order_in_which_they_came() -> None:
    aggregates = StreamingAggregates()
    for name, value in [("b", 1.0), ("a", 5.0), ("b", 3.0)]:
        aggregates.observe(name, value)

    assert list(aggregates.aggregates()) == ["b", "a"]
    assert aggregates.aggregates()["b"].mean == 2.0


def from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    return int(value, 16) if "0x" in value else float(value)


@given(series)
def test_the_report_is_strict_json_that_loses_nothing(points: list[tuple[float, int | None]]) -> None:
    aggregates = StreamingAggregates()
    for value, step in points:
        aggregates.observe("x", value, step)
    written = json.dumps(aggregates.report(), allow_nan=False)
    read = {name: from_json(value) for name, value in json.loads(written)["x"].items()}

    assert repr(MetricAggregate(**read)) == repr(aggregates.aggregates()["x"])


def test_an_int_beyond_the_doubles_is_a_string_in_the_report() -> None:
    aggregates = StreamingAggregates()
    aggregates.observe("exact", 2**53)
    aggregates.observe("beyond", -(2**53) - 1)
    aggregates.observe("long", 10**5000)

    report = aggregates.report()
    assert report["exact"]["last"] == 2**53
    assert report["beyond"]["last"] == "-0x20000000000001"
    assert int(report["long"]["last"], 16) == 10**5000


def test_threads_lose_no_point() -> None:
    aggregates = StreamingAggregates()

    def observe(thread: int) -> None:
        for k in range(2000):
            aggregates.observe("x", float(thread), k)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(observe, range(8)))
    got = aggregates.aggregates()["x"]
    assert (got.count, got.min, got.max) == (16_000, 0.0, 7.0)
    assert got.mean == pytest.approx(3.5)
    assert got.std == pytest.approx(math.sqrt(5.25), rel=1e-3)
