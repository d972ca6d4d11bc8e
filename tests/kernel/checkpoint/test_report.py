"""What a load and a resume tell about themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from model_checkpoint.checkpoint.report import ResumeReport
from model_checkpoint.checkpoint.resume import ResumeFallbackWarning
from model_checkpoint.kernel import Kernel


def test_a_load_report_is_a_mapping_of_what_was_stored(memory_kernel: Kernel) -> None:
    saved = memory_kernel.save({"weights": [1, 2], "step": 3}, epoch=4, step=5, val_loss=0.5, tags=["x"])
    report = memory_kernel.load(saved)
    assert isinstance(report, Mapping)
    assert dict(report) == {"weights": [1, 2], "step": 3}
    assert (len(report), list(report), "weights" in report) == (2, ["weights", "step"], True)
    assert (report.checkpoint_id, report.epoch, report.step) == (saved, 4, 5)
    assert (report.metrics, report.tags, report.verified) == ({"val_loss": 0.5}, {"x": ""}, "full")
    assert (report.fell_back_from, report.missing, report.unexpected, report.mismatched) == ((), (), (), {})
    assert report.duration_s > 0
    with pytest.raises(KeyError):
        report["model"]


def test_a_report_is_shown_without_the_states(memory_kernel: Kernel) -> None:
    report = memory_kernel.load(memory_kernel.save({"secret_weights": [1]}))
    assert report.checkpoint_id in repr(report)
    assert "secret_weights" not in repr(report)


def test_a_resume_report_is_false_for_a_fresh_start_and_reads_like_a_sentence(memory_kernel: Kernel) -> None:
    fresh = memory_kernel.resume({"a": {}})
    assert not fresh
    assert (fresh.step, fresh.next_epoch, fresh.checkpoint_id) == (0, 0, None)
    name = memory_kernel.current_run().name
    assert str(fresh) == f"{name}: a fresh start"
    kept, gone = (memory_kernel.save({"a": {}}, epoch=n, step=n * 10, val_loss=0.5) for n in (1, 2))
    memory_kernel.backends.open("memory").forget(gone)
    with pytest.warns(ResumeFallbackWarning):
        report = memory_kernel.resume({"a": {}})
    assert report
    assert report.metrics == {"val_loss": 0.5}
    assert report.load is not None
    assert report.load.checkpoint_id == kept
    assert str(report) == f"{name}: resumed from {kept} (epoch 1, step 10); passed over 1 damaged"


def test_reports_cannot_be_changed(memory_kernel: Kernel) -> None:
    report: Any = ResumeReport("r")
    with pytest.raises(AttributeError):
        report.step = 3
