"""What a training script collects its metrics with."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from model_checkpoint.analytics.aggregation import StreamingAggregates
from model_checkpoint.analytics.table import AggregatedMetrics
from model_checkpoint.common.numbers import as_metric_value, checked_step
from model_checkpoint.contracts import MetricAggregate
from model_checkpoint.errors import MetricError, NoKernelError

if TYPE_CHECKING:
    from model_checkpoint.kernel import Kernel


class MetricsCollector:
    """Collects metrics: on the current run of an open kernel, or alone, in memory.

    Made while one kernel is open, it hands every metric to that kernel and keeps nothing itself: what it collects is
    recorded with the run and goes into the next checkpoint. Made while none is open, it stays alone, also when a kernel
    is opened later. Safe to use from several threads.

    Args:
        kernel: the kernel to collect for; default is the one that is open.

    Raises ``AmbiguousKernelError`` when several kernels are open and none is given. Once its kernel is closed, whatever
    needs it raises ``KernelClosedError``.
    """

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = _current_kernel() if kernel is None else kernel
        self._alone = StreamingAggregates()

    @property
    def attached(self) -> bool:
        """Whether metrics go to a kernel's current run."""
        return self._kernel is not None

    def collect_metric(self, name: str, value: object, step: int | None = None) -> None:
        """Collect one value of the metric `name`, measured at `step`.

        `value` is an int, a float, a bool, or a tensor or array of zero dimensions; NaN and infinities are accepted.
        Raises ``MetricError`` for anything else, with nothing collected.
        """
        self.collect_metrics({name: value}, step=step)

    def collect_metrics(self, values: Mapping[str, object], step: int | None = None) -> None:
        """Collect several metrics of one step: all of them, or none when one raises ``MetricError``."""
        if self._kernel is not None:
            self._kernel.log_metrics(values, step=step)
            return
        step = checked_step(step)
        if not isinstance(values, Mapping):
            raise MetricError(f"metrics are a mapping of names to numbers, not a {type(values).__name__}")
        numbers = {name: as_metric_value(name, value) for name, value in values.items()}
        for name, number in numbers.items():
            self._alone.observe(name, number, step)

    def get_all_aggregated_metrics(self) -> AggregatedMetrics:
        """Return a dict of metric name to ``MetricAggregate``; printed, it is a table."""
        if self._kernel is not None:
            return AggregatedMetrics(self._kernel.aggregated_metrics())
        return AggregatedMetrics(self._alone.aggregates())

    def get_aggregated_metric(self, name: str) -> MetricAggregate:
        """Return what is known of one metric. Raises ``MetricError`` that offers what there is instead."""
        known = self.get_all_aggregated_metrics()
        if name in known:
            return known[name]
        near = get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MetricError(f"no metric {name!r} was collected; there are: {', '.join(known) or 'none'}.{hint}")


def _current_kernel() -> Kernel | None:
    from model_checkpoint.kernel import Kernel

    try:
        return Kernel.current()
    except NoKernelError:
        return None
