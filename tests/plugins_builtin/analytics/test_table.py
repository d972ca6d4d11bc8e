"""How aggregated metrics look when they are printed."""

from __future__ import annotations

import math

from model_checkpoint.analytics.aggregation import StreamingAggregates
from model_checkpoint.analytics.table import AggregatedMetrics


def test_printed_metrics_are_a_table_with_a_line_each() -> None:
    aggregates = StreamingAggregates()
    for name, value, step in [("loss", 1.0, 0), ("loss", 0.5, 1), ("loss", math.nan, 2), ("tokens", 2**70, None)]:
        aggregates.observe(name, value, step)

    assert str(AggregatedMetrics(aggregates.aggregates())).splitlines() == [
        "metric  count    last     min  at step     max  at step         mean       std  not finite",
        "loss        3     nan     0.5        1       1        0         0.75  0.353553           1",
        "tokens      1  ~2**70  ~2**70        -  ~2**70        -  1.18059e+21         -           0",
    ]


def test_a_value_far_too_long_to_write_out_is_printed_all_the_same() -> None:
    aggregates = StreamingAggregates()
    aggregates.observe("x", -(10**5000))

    assert "-~2**16609" in str(AggregatedMetrics(aggregates.aggregates()))


def test_nothing_collected_is_printed_as_such() -> None:
    assert str(AggregatedMetrics()) == "no metrics"
