"""The performance report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.errors import KernelError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel


def opened(folder: Path, **options: Any) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", storage_backend="memory", quiet=True, **options)


def test_it_counts_operations_hooks_and_what_the_run_has_stored(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.hooks.register_hook("oops", lambda context: 1 / 0, [HookEvent.AFTER_CHECKPOINT_SAVE])
        with kernel.run("other"):
            kernel.save({"a": 1})
        with kernel.run("s"):
            saved = [kernel.save({"a": "x" * 1000 * n}) for n in range(3)]
            kernel.load(saved[0])
            kernel.records.mark_damaged(saved[2], "a byte differs")
            report: Any = kernel.performance_report()
            records = kernel.checkpoints()
        assert json.loads(json.dumps(report)) == report
        assert (report["operations"]["save"]["count"], report["operations"]["load"]["count"]) == (4, 1)
        assert report["store"] == {
            "scope": "s-1",
            "checkpoints": 3,
            "damaged": 1,
            "nbytes": sum(record.nbytes for record in records),
            "nbytes_written": sum(record.nbytes_written for record in records),
        }
        (oops,) = [line for line in report["hooks"] if line["plugin"] == "oops"]
        assert (oops["hook"], oops["calls"], oops["errors"]) == ("after_checkpoint_save", 4, 4)
        assert 0 < oops["max_s"] <= oops["total_s"]


def test_without_a_run_it_speaks_of_all_of_them(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        for _ in range(2):
            with kernel.run("s"):
                kernel.save({"a": 1})
        store: Any = kernel.performance_report()["store"]
        assert (store["scope"], store["checkpoints"]) == ("all runs", 2)


def test_without_the_plugin_that_times_them_there_are_no_operations(tmp_path: Path) -> None:
    with opened(tmp_path, plugins=["memory", "sqlite"]) as kernel:
        kernel.save({"a": 1})
        assert kernel.performance_report()["operations"] == {}
        with pytest.raises(KernelError, match="no plugin provides an analyzer named 'performance'; known: none"):
            kernel.analyzer("performance")


def test_each_kernel_counts_for_itself(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as two:
        one.save({"a": 1})
        reports: list[Any] = [kernel.performance_report() for kernel in (one, two)]
        assert [report["operations"]["save"]["count"] for report in reports] == [1, 0]
