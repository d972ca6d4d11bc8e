"""Puts the performance report together from the analyzer, the hooks and the record store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_checkpoint.errors import KernelError

if TYPE_CHECKING:
    from model_checkpoint.contracts import JSON
    from model_checkpoint.kernel.kernel import Kernel


def performance_report(kernel: Kernel) -> dict[str, JSON]:
    """Return ``operations`` (this process's saves, loads and checks), ``hooks``, ``cache`` and ``store``; plain JSON.

    Durations in seconds, sizes in bytes.
    """
    try:
        report = dict(kernel.analyzer("performance").report())
    except KernelError:  # the monitoring plugin is not loaded
        report = {"operations": {}}
    report["hooks"] = [
        {
            "plugin": line.plugin,
            "hook": line.hook,
            "calls": line.calls,
            "errors": line.errors,
            "total_s": line.total_s,
            "max_s": line.max_s,
        }
        for line in kernel.hooks.stats()
    ]
    report["cache"] = dict(kernel.records.cache_counts())
    run = kernel.active_run
    records = kernel.records.list_checkpoints(run_id=run.id if run else None)
    report["store"] = {
        "scope": run.name if run else "all runs",
        "checkpoints": len(records),
        "damaged": sum(bool(record.damage) for record in records),
        "nbytes": sum(record.nbytes for record in records),
        "nbytes_written": sum(record.nbytes_written for record in records),
    }
    return report
