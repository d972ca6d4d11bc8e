"""A run is asked when to save, as ``start(save=...)`` decides, and is told when to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import model_checkpoint.engine as mc
from model_checkpoint.errors import ConfigurationError
from model_checkpoint.kernel import Kernel

Start = Callable[..., mc.Run]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def begin(save: Any, **options: Any) -> mc.Run:
        return mc.start("demo", database_url=f"sqlite:///{tmp_path}/x.db", save=save, quiet=True, **options)

    return begin


def train(run: mc.Run, state: dict[str, Any], until: int, *, first: int = 1) -> list[int]:
    saved = []
    for step in range(first, until + 1):
        state["w"] = step
        if run.should_save(step=step, last=step == until):
            run.save(step=step, wait=False)
            saved.append(step)
        if run.should_stop:
            break
    return saved


def test_a_run_saves_as_its_decision_says(start: Start) -> None:
    with start("every:5steps | last") as run:
        run.resume(state=(state := {"w": 0}))
        assert train(run, state, 12) == [5, 10, 12]
        assert [record.step for record in run.checkpoints()] == [5, 10, 12]


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(start: Start) -> None:
    with start("every:5steps", run="r") as run:
        run.resume(state=(state := {"w": 0}))
        train(run, state, 8)
        run.save(step=8)
        run.finish("preempted")
    with start("every:5steps", run="r") as run:
        resumed = run.resume(state=state)
        assert (resumed.step, train(run, state, 15, first=9)) == (8, [10, 15])


def test_what_is_logged_is_known_to_the_decision(start: Start) -> None:
    with start("improved:val_loss") as run:
        run.resume(state={"w": 0})
        run.log(val_loss=0.5, step=1)
        assert run.should_save(step=1)
        run.log(val_loss=0.6, step=2)
        assert not run.should_save(step=2)


def test_a_decision_may_be_a_value_too(start: Start) -> None:
    from model_checkpoint.cadence import EverySteps, Last

    with start(EverySteps(2) & ~Last()) as run:
        run.resume(state=(state := {"w": 0}))
        assert train(run, state, 4) == [2]


def test_an_exception_saves_what_there_is_with_the_last_step(start: Start, tmp_path: Path) -> None:
    def fail(run: mc.Run) -> None:
        with run:
            run.resume(state={"w": 7})
            run.should_save(step=7)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail(start("on-exception"))
    with Kernel.open(f"sqlite:///{tmp_path}/x.db", quiet=True) as kernel:
        (record,) = kernel.query("step = 7")
        assert "on-exception" in record.tags


def test_after_sigterm_it_saves_durably_and_is_told_to_stop(start: Start) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with start("on-signal") as run:
        run.resume(state=(state := {"w": 0}))
        assert train(run, state, 3) == []
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        step = 3
        while not run.should_stop and time.monotonic() < deadline:
            step += 1
            if run.should_save(step=step):
                run.save(step=step, wait=False)
                assert run.kernel.pending_saves == ()  # urgent: it was waited for
        assert [record.step for record in run.checkpoints()] == [step]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("end", ["with run: pass", "run.finish()", ""])
def test_a_run_that_a_signal_has_ended_is_taken_up_by_the_next_resume(end: str, tmp_path: Path) -> None:
    program = """
        import os, signal, model_checkpoint.engine as mc
        run = mc.start("demo", save="on-signal", quiet=True)
        resumed = run.resume(state={"w": 0})
        print(bool(resumed), resumed.step)
        step = resumed.step
        os.kill(os.getpid(), signal.SIGTERM)
        while not run.should_stop:
            step += 1
            if run.should_save(step=step):
                run.save(step=step)
    """
    said = []
    for _ in range(2):
        command = [sys.executable, "-c", f"{textwrap.dedent(program)}\n{end}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said += done.stdout.split()

    assert said[:3] == ["False", "0", "True"]
    assert int(said[3]) > 0


def test_a_kernel_that_was_closed_by_hand_is_no_hindrance(start: Start) -> None:
    run = start("every:5steps | on-signal")
    run.kernel.close()
    run.finish()


def test_without_a_decision_the_question_is_refused(start: Start) -> None:
    with start(None) as run, pytest.raises(ConfigurationError, match="nobody decides when to save"):
        run.should_save(step=1)


def test_a_decision_that_cannot_be_read_leaves_no_kernel_open(start: Start) -> None:
    with pytest.raises(ConfigurationError, match="did you mean every"):
        start("evry:5steps")
    assert Kernel.open_kernels() == []


def test_a_save_that_was_vetoed_counts_as_none(start: Start) -> None:
    with start("every:5steps") as run:
        run.resume(state={"w": 0})
        run.manager.register_hook("no", lambda context: False, ["before_checkpoint_save"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert run.save(step=4) is None
        assert run.should_save(step=5)
