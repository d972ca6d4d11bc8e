"""The plugin ``performance``: feeds each kernel's own timings from the events of that kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from model_checkpoint.contracts import AnalyzerDescriptor
from model_checkpoint.hooks import Context, hookimpl
from model_checkpoint.monitoring.report import PerformanceAnalyzer

if TYPE_CHECKING:
    from model_checkpoint.kernel import Kernel
    from model_checkpoint.monitoring.timings import OperationTimings


@hookimpl
def register_analyzers(kernel: Kernel) -> list[AnalyzerDescriptor]:
    """Provide ``performance``."""
    summary = "counts, percentiles, bytes and throughput of saves, loads and checks, in constant memory"
    return [AnalyzerDescriptor("performance", PerformanceAnalyzer, summary)]


@hookimpl
def on_checkpoint_staged(context: Context, kernel: Kernel) -> None:
    """Time the part of a save that blocks the training loop."""
    _timings(kernel).observe("stage", context.get("blocked_s"), nbytes=context.get("nbytes") or 0)


@hookimpl
def after_checkpoint_save(context: Context, kernel: Kernel) -> None:
    """Time a save."""
    _timings(kernel).observe(
        "save",
        context.get("duration_s"),
        nbytes=context.get("nbytes") or 0,
        nbytes_written=context.get("nbytes_written") or 0,
    )


@hookimpl
def after_checkpoint_load(context: Context, kernel: Kernel) -> None:
    """Time a load."""
    _timings(kernel).observe("load", context.get("duration_s"), nbytes=context.get("nbytes") or 0)


@hookimpl
def after_integrity_check(context: Context, kernel: Kernel) -> None:
    """Time a check, and count the damage it found as an error."""
    timings = _timings(kernel)
    timings.observe("verify", context.get("duration_s"), nbytes=context.get("nbytes_read") or 0)
    if not context.get("ok"):
        timings.failed("verify")


@hookimpl
def on_checkpoint_save_error(kernel: Kernel) -> None:
    """Count a save that failed."""
    _timings(kernel).failed("save")


@hookimpl
def on_checkpoint_load_error(kernel: Kernel) -> None:
    """Count a load that failed."""
    _timings(kernel).failed("load")


def _timings(kernel: Kernel) -> OperationTimings:
    return cast(PerformanceAnalyzer, kernel.analyzer("performance")).timings
