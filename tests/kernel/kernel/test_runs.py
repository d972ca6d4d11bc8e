"""Runs: which one a process works on, what it remembers, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from model_checkpoint.contracts import RunStatus
from model_checkpoint.errors import (
    AmbiguousKernelError,
    InvalidNameError,
    KernelClosedError,
    KernelError,
    NoKernelError,
    NothingToResumeError,
    OperationVetoed,
    StateMismatchError,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel


def opened(folder: Path, **options: object) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", quiet=True, strict=True, **options)  # type: ignore[arg-type]


def run_script(folder: Path, body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = folder / "train.py"
    script.write_text("import model_checkpoint.engine as mc\n" + textwrap.dedent(body))
    return subprocess.run(
        [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )


def statuses(folder: Path) -> dict[str, str]:
    with opened(folder) as kernel:
        return {run.name: run.status.value for run in kernel.records.list_runs()}


def test_a_run_fires_its_events_in_order_and_remembers_its_end(tmp_path: Path) -> None:
    seen: list[object] = []
    with opened(tmp_path) as kernel:
        events = [
            HookEvent.ON_EXPERIMENT_START, HookEvent.ON_RUN_START, HookEvent.ON_RUN_END, HookEvent.ON_EXPERIMENT_END,
            HookEvent.ON_SYSTEM_SHUTDOWN,
        ]  # fmt: skip
        kernel.hooks.register_hook("see", seen.append, events)
        with kernel.run("digits", config={"lr": 0.1}, tags={"stage": "dev"}):
            best = kernel.save({"a": 1}, step=9, val_loss=0.1)
    assert [context.event for context in seen] == events  # type: ignore[attr-defined]
    assert seen[1].run_name == "digits-1"  # type: ignore[attr-defined]
    assert seen[1].config == {"lr": 0.1}  # type: ignore[attr-defined]
    assert (seen[2].status, seen[2].last_step, seen[2].best_checkpoint_id) == ("finished", 9, best)  # type: ignore[attr-defined]
    assert seen[2].duration_s > 0  # type: ignore[attr-defined]
    with opened(tmp_path) as kernel:
        record = kernel.records.get_run("digits-1")
        assert record is not None
        assert record.tags == {"stage": "dev"}
        assert record.environment["python"]
        assert record.ended_at_s is not None


def test_a_plugin_registered_late_still_hears_the_start(tmp_path: Path) -> None:
    seen: list[object] = []
    with opened(tmp_path) as kernel:
        kernel.hooks.register_hook("late", seen.append, [HookEvent.ON_SYSTEM_START])
        assert seen[0].kernel_api == "1.0"  # type: ignore[attr-defined]
        assert "sqlite" in seen[0].plugins  # type: ignore[attr-defined]


def test_an_early_plugin_may_refuse_another_one(tmp_path: Path) -> None:
    from model_checkpoint.kernel import hookimpl

    class Guard:
        @hookimpl
        def before_plugin_load(self, context: object) -> bool:
            return context.name != "pytorch"  # type: ignore[attr-defined]

    with opened(tmp_path, early=[Guard()]) as kernel:
        assert kernel.plugins.activate("pytorch").state == "disabled"
        assert "pytorch" not in kernel.plugins.provided.storage.names()


def test_an_exception_fails_the_run_and_ctrl_c_preempts_it(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        with pytest.raises(ZeroDivisionError), kernel.run("a"):
            _ = 1 / 0
        with pytest.raises(KeyboardInterrupt), kernel.run("a"):
            raise KeyboardInterrupt
        with kernel.run("a"):
            pass
        assert {r.name: r.status.value for r in kernel.records.list_runs()} == {
            "a-1": "failed", "a-2": "preempted", "a-3": "finished",
        }  # fmt: skip
        failed = kernel.records.get_run("a-1")
        assert failed is not None
        assert "ZeroDivisionError" in failed.reason


@pytest.mark.parametrize(
    ("ending", "status"),
    [("", "finished"), ("raise ValueError('x')", "failed"), ("raise KeyboardInterrupt", "preempted")],
)
def test_a_script_that_just_ends_leaves_the_right_status(tmp_path: Path, ending: str, status: str) -> None:
    body = f"run = mc.start('s', database_url='sqlite:///e.db')\nrun.save(epoch=0, weights=[1])\n{ending}\n"
    run_script(tmp_path, body)
    assert statuses(tmp_path) == {"s-1": status}


def test_resume_takes_up_an_unfinished_run_and_leaves_a_finished_one(tmp_path: Path) -> None:
    body = """
    progress = {"n": 0}
    run = mc.start("s", database_url="sqlite:///e.db")
    start = run.resume(progress=progress)
    print(bool(start), start.next_epoch, progress["n"], run.name)
    progress["n"] += 1
    run.save(epoch=start.next_epoch)
    if progress["n"] < 3:
        raise RuntimeError("not done yet")
    """
    seen = [run_script(tmp_path, body).stdout.strip() for _ in range(4)]
    assert seen == ["False 0 0 s-1", "True 1 1 s-1", "True 2 2 s-1", "False 0 0 s-2"]


def test_a_killed_run_is_marked_crashed_by_the_next_one(tmp_path: Path) -> None:
    run_script(tmp_path, "import os\nmc.start('s', database_url='sqlite:///e.db').save(epoch=0, w=1)\nos._exit(9)")
    with opened(tmp_path) as kernel, kernel.run("s"):
        pass
    assert statuses(tmp_path) == {"s-1": "crashed", "s-2": "finished"}


def test_a_run_that_lives_in_another_process_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel, kernel.run("s") as mine:
        body = "run = mc.start('s', database_url='sqlite:///e.db')\nrun.resume(w={})\nprint(run.name)"
        assert run_script(tmp_path, body).stdout.strip() == "s-2"
        refused = run_script(tmp_path, f"mc.start('s', run={mine.name!r}, database_url='sqlite:///e.db').save(w=1)")
        assert "RunInUseError" in refused.stderr
        assert "live process" in refused.stderr
        assert kernel.records.get_run(mine.name).status is RunStatus.RUNNING  # type: ignore[union-attr]


def test_the_environment_names_the_run(tmp_path: Path) -> None:
    body = "run = mc.start('s', database_url='sqlite:///e.db')\nrun.resume(w={})\nprint(run.name)"
    assert run_script(tmp_path, body, MCE_RUN="mine").stdout.strip() == "mine"
    assert run_script(tmp_path, body, SLURM_JOB_ID="77").stdout.strip() == "s-slurm-77"
    assert run_script(
        tmp_path, body, SLURM_JOB_ID="9", SLURM_ARRAY_JOB_ID="8", SLURM_ARRAY_TASK_ID="3"
    ).stdout.strip() == ("s-slurm-8-3")
    assert run_script(tmp_path, body, TORCHELASTIC_RUN_ID="abc").stdout.strip() == "s-abc"


def test_a_named_run_goes_on_even_when_it_had_finished(tmp_path: Path) -> None:
    body = """
    p = {"n": 0}
    run = mc.start("s", run="long", database_url="sqlite:///e.db")
    run.resume(p=p)
    p["n"] += 1
    run.save(step=p["n"])
    print(p["n"])
    """
    assert [run_script(tmp_path, body).stdout.strip() for _ in range(3)] == ["1", "2", "3"]


def test_resume_after_the_first_save_is_refused(tmp_path: Path) -> None:
    done = run_script(tmp_path, "run = mc.start('s', database_url='sqlite:///e.db')\nrun.save(w=1)\nrun.resume(w={})")
    assert "call resume() before the first save()" in done.stderr


def test_a_checkpoint_that_lacks_an_object_is_passed_over(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s")
        whole = kernel.save({"a": {"n": 1}, "b": {"n": 1}}, step=1)
        less = kernel.save({"a": {"n": 2}}, step=2)
        a: dict[str, int] = {}
        with pytest.warns(UserWarning, match=less):
            report = kernel.resume({"a": a, "b": {}})
        assert report.checkpoint_id == whole
        assert a == {"n": 1}
        assert report.skipped[0][0] == less
        with pytest.raises(NothingToResumeError):
            kernel.resume({"c": {}})


def test_a_single_checkpoint_of_another_shape_is_a_mismatch(tmp_path: Path) -> None:
    import numpy as np

    with opened(tmp_path) as kernel:
        kernel.save({"a": np.zeros(2)})
        with pytest.raises(StateMismatchError):
            kernel.resume({"a": {}})


def test_metrics_go_on_from_the_resumed_step(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        for step in range(1, 6):
            kernel.log_metrics({"loss_": float(step)}, step=step)
            if step == 3:
                kernel.save({"a": {}}, step=step)
        assert kernel.aggregated_metrics()["loss_"].count == 5
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r", adopt=True)
        kernel.resume({"a": {}})
        assert kernel.aggregated_metrics()["loss_"].count == 3
        for step in range(4, 7):
            kernel.log_metrics({"loss_": -float(step)}, step=step)
        run = kernel.current_run()
        run.flush()
        assert [p.value for p in kernel.records.read_metrics(run.id)] == [1.0, 2.0, 3.0, -4.0, -5.0, -6.0]
        assert kernel.aggregated_metrics()["loss_"].count == 6


def test_metric_hooks_see_change_and_drop_points(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        seen: list[object] = []

        def before(context: object) -> object:
            if context.value != context.value:  # type: ignore[attr-defined]
                return False
            return {"value": context.value * 2}  # type: ignore[attr-defined]

        kernel.hooks.register_hook("before", before, [HookEvent.BEFORE_METRIC_COLLECTION])
        kernel.hooks.register_hook("after", seen.append, [HookEvent.AFTER_METRIC_COLLECTION])
        kernel.log_metrics({"x": 1.0}, step=1)
        kernel.log_metrics({"x": float("nan")}, step=2)
        assert [(c.metric_name, c.value, c.step) for c in seen] == [("x", 2.0, 1)]  # type: ignore[attr-defined]
        assert seen[0].aggregate.count == 1  # type: ignore[attr-defined]


def test_a_vetoed_run_does_not_begin(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.hooks.register_hook("no", lambda context: False, [HookEvent.ON_RUN_START])
        with pytest.raises(OperationVetoed):
            kernel.start_run("s")
        assert kernel.active_run is None
        kernel.hooks.unregister_hook("no")
        kernel.start_run("s")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel, kernel.run("a"), pytest.raises(KernelError, match="is active"):
        kernel.start_run("b")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 500, "CON", "a\0b", ".", "trailing.", "ünïcode", "a b"])
def test_names_that_reach_outside_are_refused(tmp_path: Path, name: str) -> None:
    with opened(tmp_path) as kernel:
        with pytest.raises(InvalidNameError, match="cannot be the name of"):
            kernel.start_run(name or "../")
        if name:
            with pytest.raises(InvalidNameError):
                kernel.start_run("fine", run=name)


def test_which_kernel_is_meant_must_be_clear(tmp_path: Path) -> None:
    with pytest.raises(NoKernelError, match=r"Kernel\.open"):
        Kernel.current()
    with opened(tmp_path) as one:
        assert Kernel.current() is one
        (tmp_path / "b").mkdir()
        with opened(tmp_path / "b"), pytest.raises(AmbiguousKernelError, match="kernel="):
            Kernel.current()
    with pytest.raises(KernelClosedError):
        one.save({"a": 1})


def test_a_forked_child_that_exits_does_not_end_its_parents_run(tmp_path: Path) -> None:
    body = """
    import os, sys
    run = mc.start("s", database_url="sqlite:///e.db")
    run.save(w=1)
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    print(run.kernel.records.get_run("s-1").status)
    run.save(w=2)
    """
    done = run_script(tmp_path, body)
    assert done.stdout.strip() == "running", done.stderr
    assert statuses(tmp_path) == {"s-1": "finished"}


def test_the_pointer_files_name_latest_and_best(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel, kernel.run("s") as run:
        best = kernel.save({"a": 1}, val_loss=0.1, metrics={"val/acc": 0.5})
        latest = kernel.save({"a": 1}, val_loss=0.2)
    folder = tmp_path / "checkpoints" / "runs" / run.name
    assert (folder / "latest").read_text().strip() == latest
    assert (folder / "best-val_loss").read_text().strip() == best
    assert (folder / "best-val%2Facc").read_text().strip() == best
    assert (tmp_path / "checkpoints" / ".gitignore").read_text().endswith("*\n")
