"""The plugin ``metrics``: provides the analyzer that folds a run's metrics."""

from __future__ import annotations

from model_checkpoint.analytics.aggregation import StreamingAggregates
from model_checkpoint.contracts import AnalyzerDescriptor
from model_checkpoint.hooks import hookimpl


@hookimpl
def register_analyzers(kernel: object) -> list[AnalyzerDescriptor]:
    """Provide ``metrics``."""
    summary = "count, last, min, max, mean and standard deviation of every metric, in constant memory"
    return [AnalyzerDescriptor("metrics", StreamingAggregates, summary)]
