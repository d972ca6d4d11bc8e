"""Where a training goes on: which checkpoint, which epoch, which metrics."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.checkpoint.resume import ResumeFallbackWarning
from model_checkpoint.errors import IntegrityError, MissingFileError, NothingToResumeError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel


def opened(folder: Path, **options: Any) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", quiet=True, strict=True, **options)


def forget(kernel: Kernel, checkpoint_id: str) -> None:
    """Let every file of a checkpoint be gone, as somebody who tidied up left it."""
    record = kernel.checkpoint(checkpoint_id)
    kernel.backends.open(record.backend).forget(checkpoint_id)


def resumed(folder: Path, objects: dict[str, Any]) -> tuple[Any, Kernel]:
    kernel = opened(folder)
    kernel.start_run("s", run="r", adopt=True)
    return kernel.resume(objects), kernel


def test_a_checkpoint_of_which_nothing_is_left_is_passed_over(memory_kernel: Kernel) -> None:
    kept, gone = memory_kernel.save({"a": {"n": 1}}, step=1), memory_kernel.save({"a": {"n": 2}}, step=2)
    forget(memory_kernel, gone)
    a: dict[str, int] = {}
    with pytest.warns(ResumeFallbackWarning, match=gone):
        report = memory_kernel.resume({"a": a})
    assert (report.checkpoint_id, report.step, a) == (kept, 1, {"n": 1})
    assert report.skipped[0][0] == gone
    assert "has nothing of it: restore its files from a copy" in report.skipped[0][1]
    assert "nothing of it" in memory_kernel.checkpoint(gone).damage


def test_loading_such_a_checkpoint_by_its_id_is_an_integrity_error(memory_kernel: Kernel) -> None:
    gone = memory_kernel.save({"a": 1})
    forget(memory_kernel, gone)
    with pytest.raises(MissingFileError, match=f"checkpoint {gone} is recorded, and the storage backend 'memory'"):
        memory_kernel.load(gone)
    assert issubclass(MissingFileError, IntegrityError)


def test_where_nothing_can_be_resumed_every_reason_is_given(memory_kernel: Kernel) -> None:
    saved = [memory_kernel.save({"a": 1}, step=n) for n in range(2)]
    for each in saved:
        forget(memory_kernel, each)
    with pytest.raises(NothingToResumeError, match="has 2 checkpoints and none of them can be resumed") as refused:
        memory_kernel.resume({"a": {}})
    assert all(each in str(refused.value) for each in saved)


def test_latest_falls_back_within_its_run_alone(memory_kernel: Kernel) -> None:
    with memory_kernel.run("other"):
        memory_kernel.save({"a": "other"})
    with memory_kernel.run("s"):
        only = memory_kernel.save({"a": "own"})
    forget(memory_kernel, only)
    memory_kernel._session = None  # as in a process that only looks
    with pytest.raises(MissingFileError):
        memory_kernel.load("latest")


def test_latest_names_everything_newer_that_was_passed_over_also_the_second_time(memory_kernel: Kernel) -> None:
    first, second, third = (memory_kernel.save({"a": n}) for n in range(3))
    forget(memory_kernel, second)
    forget(memory_kernel, third)
    assert memory_kernel.load("latest").fell_back_from == (third, second)
    again = memory_kernel.load("latest")
    assert (again.checkpoint_id, again.fell_back_from) == (first, (third, second))
    newest = memory_kernel.save({"a": 4})
    assert (memory_kernel.load("latest").checkpoint_id, memory_kernel.load("latest").fell_back_from) == (newest, ())


def test_a_hook_may_choose_what_to_load_instead_and_never_lets_it_go_on_for_ever(memory_kernel: Kernel) -> None:
    first, second, third = (memory_kernel.save({"a": n}) for n in range(3))
    forget(memory_kernel, third)
    answers = [first, third]
    memory_kernel.hooks.register_hook(
        "choose", lambda context: {"fallback_id": answers[0]}, [HookEvent.ON_CHECKPOINT_LOAD_ERROR]
    )
    assert memory_kernel.load("latest").checkpoint_id == first
    memory_kernel.records.mark_damaged(third, "")
    del answers[0]
    assert memory_kernel.load("latest").checkpoint_id == second
    memory_kernel.records.mark_damaged(third, "")
    with pytest.raises(MissingFileError):
        memory_kernel.load(third)


def test_damage_is_told_even_where_it_cannot_be_marked(memory_kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    gone = memory_kernel.save({"a": 1})
    forget(memory_kernel, gone)
    memory_kernel.hooks.register_hook("no", lambda context: False, [HookEvent.BEFORE_DB_WRITE])
    with pytest.raises(MissingFileError):
        memory_kernel.load(gone)
    assert not memory_kernel.verify(gone).ok
    assert f"checkpoint {gone} could not be marked" in caplog.text


def test_a_damaged_checkpoint_whose_files_are_back_is_resumed_and_its_mark_cleared(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        kernel.save({"a": {"n": 0}}, step=0)
        saved = kernel.save({"a": {"n": 1}}, step=1)
        files = list((tmp_path / "checkpoints" / "vault").glob(f"manifests/{saved}*"))
        assert files
        for file in files:
            shutil.move(file, tmp_path / file.name)
        with pytest.raises(IntegrityError):
            kernel.load(saved)
        assert kernel.checkpoint(saved).damage
    for file in files:
        shutil.move(tmp_path / file.name, file)
    report, kernel = resumed(tmp_path, {"a": {}})
    with kernel:
        assert report.checkpoint_id == saved
        assert kernel.checkpoint(saved).damage == ""


def test_after_falling_back_the_same_step_is_saved_again_and_is_the_latest(memory_kernel: Kernel) -> None:
    memory_kernel.save({"a": {}}, step=60, val_loss=0.5)
    stale = memory_kernel.save({"a": {}}, step=80, val_loss=0.1)
    forget(memory_kernel, stale)
    with pytest.warns(ResumeFallbackWarning):
        report = memory_kernel.resume({"a": {}})
    assert report.step == 60
    assert memory_kernel.checkpoint("latest").step == 60
    again = memory_kernel.save({"a": {}}, step=80, val_loss=0.4)
    assert again != stale
    assert memory_kernel.checkpoint("latest").id == memory_kernel.checkpoint("best").id == again
    assert memory_kernel.checkpoint(again).best_for == ("val_loss",)
    assert memory_kernel.checkpoint(again).parent_id == report.checkpoint_id


def test_metrics_of_a_checkpoint_without_a_step_go_on_from_where_it_was_saved(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        for epoch in range(4):
            kernel.log_metrics({"train_loss": float(epoch)}, step=epoch * 10, epoch=epoch)
            kernel.log_metrics({"stepless": float(epoch)})
            if epoch == 1:
                kernel.save({"a": {}}, epoch=epoch)
    report, kernel = resumed(tmp_path, {"a": {}})
    with kernel:
        assert (report.step, report.next_epoch) == (0, 2)
        known = kernel.aggregated_metrics()
        assert {name: (each.count, each.last) for name, each in known.items()} == {
            "train_loss": (2, 1.0), "stepless": (2, 1.0),
        }  # fmt: skip
        assert kernel.current_run().last_step == 10


def test_metrics_of_an_attempt_that_got_further_do_not_come_back(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        kernel.log_metrics({"x": 0.0}, step=0)
        kernel.save({"a": {}}, epoch=0)
        for step in (1, 2, 3):  # lost: no checkpoint follows
            kernel.log_metrics({"x": 100.0}, step=step)
    _, kernel = resumed(tmp_path, {"a": {}})
    with kernel:
        kernel.log_metrics({"x": 1.0}, step=1)
        kernel.save({"a": {}}, epoch=1)
    _, kernel = resumed(tmp_path, {"a": {}})
    with kernel:
        x = kernel.aggregated_metrics()["x"]
        assert (x.count, x.last, x.max) == (2, 1.0, 1.0)


def test_a_fresh_start_in_an_adopted_run_counts_from_the_beginning(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        kernel.log_metrics({"x": 1.0}, step=50)
    report, kernel = resumed(tmp_path, {"a": {}})
    with kernel:
        assert not report
        assert str(report) == "r: a fresh start"
        assert kernel.current_run().last_step is None
        assert kernel.aggregated_metrics() == {}


def test_metrics_collected_before_a_resume_are_in_no_later_checkpoint(memory_kernel: Kernel) -> None:
    memory_kernel.save({"a": {}}, step=1)
    memory_kernel.log_metrics({"x": 1.0}, step=2)
    memory_kernel.resume({"a": {}})
    assert memory_kernel.checkpoint(memory_kernel.save({"a": {}}, step=2)).metrics == {}


class Loader:
    """Keeps its position as ``torchdata``'s StatefulDataLoader writes it down."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.state = state or {}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def in_one_process(batches: int, *, finished: bool) -> dict[str, Any]:
    return {"_num_yielded": batches, "_sampler_iter_yielded": batches, "_iterator_finished": finished}


def in_workers(snapshot: int, since: int, *, finished: bool) -> dict[str, Any]:
    inner = {"_snapshot_step": snapshot, "_worker_snapshots": {}}
    return {"_snapshot": inner, "_steps_since_snapshot": since, "_iterator_finished": finished}


@pytest.mark.parametrize(
    ("state", "next_epoch"),
    [
        (in_one_process(3, finished=False), 4),
        (in_one_process(6, finished=True), 5),
        (in_one_process(0, finished=False), 5),
        (in_workers(0, 2, finished=False), 4),
        (in_workers(4, 0, finished=False), 4),
        (in_workers(4, 2, finished=True), 5),
        ({"position": 3}, 5),
    ],
)
def test_an_epoch_that_a_loader_of_torchdata_has_begun_is_gone_on_with(
    memory_kernel: Kernel, state: dict[str, Any], next_epoch: int
) -> None:
    memory_kernel.save({"loader": Loader(state), "a": {}}, epoch=4, step=9)
    report = memory_kernel.resume({"loader": Loader(), "a": {}})
    assert report.next_epoch == next_epoch


@pytest.mark.parametrize(("word", "next_epoch"), [(True, 4), (False, 5)])
def test_a_loader_s_own_word_on_it_counts_first(memory_kernel: Kernel, word: bool, next_epoch: int) -> None:
    class Says(Loader):
        mid_epoch = word

    memory_kernel.save({"loader": Says(in_one_process(3, finished=not word))}, epoch=4)
    assert memory_kernel.resume({"loader": Says()}).next_epoch == next_epoch


def test_without_an_epoch_the_first_one_is_next(memory_kernel: Kernel) -> None:
    memory_kernel.save({"a": {}}, step=7)
    report = memory_kernel.resume({"a": {}})
    assert (report.epoch, report.next_epoch, report.step) == (None, 0, 7)


def test_the_event_tells_where_and_what_was_passed_over(memory_kernel: Kernel) -> None:
    seen: list[Any] = []
    memory_kernel.hooks.register_hook("see", seen.append, [HookEvent.ON_RESUME])
    kept, gone = memory_kernel.save({"a": {}}, epoch=0, step=5), memory_kernel.save({"a": {}}, epoch=1, step=6)
    forget(memory_kernel, gone)
    with warnings.catch_warnings(action="ignore"):
        memory_kernel.resume({"a": {}})
    (told,) = seen
    assert (told.checkpoint_id, told.epoch, told.step, told.fell_back) == (kept, 0, 5, True)
    assert [passed for passed, _ in told.skipped] == [gone]
    assert told.run_name == memory_kernel.current_run().name
