"""The benchmark harness measures in turn, takes medians, and says honestly what holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import CannotMeasure, Comparison, Measurement, compare, interval_of_median, main

ROW_KEYS = ["measure", "ours", "unit", "peer", "peer_value", "ratio", "floor", "bar", "holds"]


def scripted(*values: float) -> Measurement:
    """Return a measurement that gives these values in turn, the first to the warm-up, the last for ever."""
    remaining: Iterator[float] = iter(values)
    last = values[-1]
    return lambda: next(remaining, last)


def a_comparison(ours: float = 2.0, peer: float = 1.0) -> Comparison:
    return Comparison(
        measure="save", unit="ms", ours=scripted(ours), peer="torch.save", peer_measurement=scripted(peer)
    )


def test_the_sides_are_measured_in_turn_after_one_warm_up_of_each() -> None:
    calls: list[str] = []

    def logged(name: str) -> Measurement:
        return lambda: calls.append(name) or 1.0

    compare(
        replace(a_comparison(), ours=logged("A"), peer_measurement=logged("B"), floor=logged("f")),
        pairs=3,
    )

    assert "".join(calls) == "ABf" + 3 * "ABf"


def test_medians_are_reported_and_the_warm_up_is_not_counted() -> None:
    result = compare(
        replace(a_comparison(), ours=scripted(1000, 1, 2, 30), peer_measurement=scripted(1000, 1, 1, 10)), pairs=3
    )

    assert (result.ours, result.peer_value, result.ratio) == (2, 1, 2)


def test_the_ratio_is_taken_within_each_round_so_that_a_slow_moment_hits_both_sides() -> None:
    slow_second_round = scripted(1, 2, 200, 2), scripted(1, 1, 100, 1)

    result = compare(replace(a_comparison(), ours=slow_second_round[0], peer_measurement=slow_second_round[1]), pairs=3)

    assert (result.low, result.ratio, result.high) == (2, 2, 2)


def test_the_floor_can_be_taken_off_both_sides() -> None:
    result = compare(replace(a_comparison(ours=16, peer=12), floor=scripted(10), subtract_floor=True), pairs=3)

    assert (result.ours, result.peer_value, result.floor, result.ratio) == (6, 2, 10, 3)


@pytest.mark.parametrize(
    ("better", "bar", "holds"),
    [("lower", 2.0, True), ("lower", 1.9, False), ("higher", 2.0, True), ("higher", 2.1, False), ("lower", None, None)],
)
def test_a_comparison_holds_when_the_interval_reaches_the_bar(better, bar, holds) -> None:
    assert compare(replace(a_comparison(), better=better, bar=bar), pairs=3).holds is holds


def test_a_peer_that_is_not_installed_is_named_as_missing_and_decides_nothing() -> None:
    result = compare(replace(a_comparison(), peer_measurement=None, bar=1.0), pairs=3)

    assert result.row()["peer"] == "torch.save (missing)"
    assert (result.row()["peer_value"], result.row()["ratio"], result.row()["holds"]) == (None, None, None)
    assert "missing" in result.line()


def test_a_peer_without_a_positive_value_cannot_be_divided_by() -> None:
    with pytest.raises(CannotMeasure, match=r"torch\.save gave 0"):
        compare(a_comparison(peer=0.0), pairs=3)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9))
def test_the_interval_lies_within_the_values_and_is_the_same_at_every_call(values: list[float]) -> None:
    low, high = interval_of_median(values)

    assert min(values) <= low <= high <= max(values)
    assert interval_of_median(values) == (low, high)


def test_the_json_file_holds_one_row_a_comparison_with_the_agreed_keys(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"

    status = main("doc", lambda quick: [a_comparison(), a_comparison()], ["--quick", "--json", str(rows)])

    assert status == 0
    assert [list(row) for row in json.loads(rows.read_text())] == [ROW_KEYS, ROW_KEYS]


def test_the_status_is_0_even_where_a_bar_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("doc", lambda quick: [replace(a_comparison(), bar=1.0)], []) == 0
    assert "DOES NOT HOLD" in capsys.readouterr().out


def test_the_status_is_2_and_says_why_where_nothing_could_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    def impossible() -> float:
        raise CannotMeasure("no such disk")

    assert main("doc", lambda quick: [replace(a_comparison(), ours=impossible)], []) == 2
    assert "could not measure: no such disk" in capsys.readouterr().err


def test_quick_measures_three_pairs_and_otherwise_seven() -> None:
    counted = {True: 0, False: 0}
    for quick in counted:

        def count(quick: bool = quick) -> float:
            counted[quick] += 1
            return 1.0

        main("doc", lambda _, count=count: [replace(a_comparison(), ours=count)], ["--quick"] if quick else [])

    assert counted == {True: 1 + 3, False: 1 + 7}
