"""The performance report: real numbers, plain JSON."""

from __future__ import annotations

import json

from model_checkpoint.monitoring.report import PerformanceAnalyzer

FIELDS = {
    "count",
    "errors",
    "total_s",
    "mean_s",
    "p50_s",
    "p95_s",
    "p99_s",
    "max_s",
    "nbytes",
    "nbytes_written",
    "throughput_mb_s",
}


def test_before_anything_happened_every_operation_is_there_with_zeros() -> None:
    operations = PerformanceAnalyzer().report()["operations"]

    assert list(operations) == ["save", "load", "verify", "stage"]
    for line in operations.values():
        assert set(line) == FIELDS
        assert set(line.values()) == {0}


def test_the_report_shows_what_was_observed_as_plain_json() -> None:
    analyzer = PerformanceAnalyzer()
    analyzer.timings.observe("save", 2.0, nbytes=8_000_000, nbytes_written=9_000_000)
    analyzer.timings.failed("load")
    analyzer.observe("export", 0.5, step=3)

    report = analyzer.report()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    save = report["operations"]["save"]
    assert (save["count"], save["total_s"], save["mean_s"], save["max_s"]) == (1, 2.0, 2.0, 2.0)
    assert (save["nbytes"], save["nbytes_written"], save["throughput_mb_s"]) == (8_000_000, 9_000_000, 4.0)
    assert report["operations"]["load"]["errors"] == 1
    assert report["operations"]["export"]["count"] == 1
