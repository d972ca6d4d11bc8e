"""A cadence makes the moments of one training, and answers of one step yes once."""

from __future__ import annotations

import doctest
import runpy
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.cadence import Cadence, EverySteps, Not, Rule, parse, training
from model_checkpoint.contracts import Decision, Moment
from model_checkpoint.errors import ConfigurationError, MetricError

DRAWN: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("rules.py")))
RULES: st.SearchStrategy[Rule] = DRAWN["RULES"]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Watching:
    """A decision that keeps its moments."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def decide(self, moment: Moment) -> Decision:
        self.moments.append(moment)
        return Decision(moment.step is not None and moment.step % 10 == 0, "tens")


def test_the_example_holds() -> None:
    assert doctest.testmod(training).failed == 0


@given(RULES, st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0, 100)), max_size=50))
def test_there_are_never_two_saves_in_one_step(rule: Rule, questions: list[tuple[int, bool, float]]) -> None:
    clock, step, saved = Clock(), 0, []
    cadence = Cadence(rule, clock)
    for stride, ends, pause_s in questions:
        step, clock.now_s = step + stride, clock.now_s + pause_s
        if cadence.should_save(step=step, epoch=step if ends else None, metrics={"val_loss": pause_s}):
            saved.append(step)

    assert len(saved) == len(set(saved))


@given(st.integers(1, 40), st.integers(0, 200), st.integers(1, 400))
def test_a_resumed_training_saves_at_the_steps_of_one_that_was_never_stopped(n: int, at: int, more: int) -> None:
    whole, first, second = (Cadence(EverySteps(n)) for _ in range(3))
    expected = [step for step in range(1, at + more) if whole.should_save(step=step)]
    before = [step for step in range(1, at + 1) if first.should_save(step=step)]
    second.resumed(step=at)
    after = [step for step in range(at + 1, at + more) if second.should_save(step=step)]

    assert before + after == expected


def test_what_is_known_is_in_the_moment() -> None:
    clock, decision = Clock(), Watching()
    cadence = Cadence(decision, clock, limit_s=100.0)
    cadence.note({"lr": np.float32(0.5)})
    clock.now_s = 4.0
    assert cadence.should_save(step=10, epoch=1, metrics={"val_loss": 0.25})
    clock.now_s = 5.0
    cadence.saved(stall_s=1.0)
    cadence.saved(write_s=3.0)
    clock.now_s = 7.0
    cadence.should_save(step=11, metrics={"val_loss": float("nan")}, last=True, error=ValueError("x"))

    moment = decision.moments[-1]
    assert (moment.step, moment.epoch, moment.saved_step, moment.saved_epoch) == (11, None, 10, 1)
    assert (moment.since_start_s, moment.since_save_s, moment.left_s) == (7.0, 2.0, 93.0)
    assert (moment.save_count, moment.stalls_s, moment.writes_s, moment.stalled_s) == (1, (1.0,), (3.0,), 1.0)
    assert moment.metrics["lr"] == 0.5
    assert moment.lowest == moment.highest == {"lr": 0.5, "val_loss": 0.25}
    assert (moment.last, moment.error, moment.resumed) == (True, "ValueError: x", False)


def test_a_moment_that_was_given_out_stays_as_it_was() -> None:
    decision = Watching()
    cadence = Cadence(decision)
    cadence.should_save(step=10, metrics={"val_loss": 0.5})
    cadence.should_save(step=11)
    kept, before = decision.moments[1], repr(decision.moments[1])
    cadence.should_save(step=20, metrics={"val_loss": 0.25, "loss": 1.0})

    assert repr(kept) == before


def test_the_end_of_an_epoch_whose_last_step_is_saved_is_saved() -> None:
    cadence = Cadence(parse("every:5steps | every:1epoch"))

    assert cadence.should_save(step=5)
    assert not cadence.should_save(step=5, epoch=0)
    assert not cadence.should_save(step=6)
    assert cadence.should_save(step=9, epoch=1)


def test_a_training_without_steps_counts_epochs() -> None:
    cadence = Cadence(parse("every:2epochs"))

    assert [epoch for epoch in range(6) for _ in range(2) if cadence.should_save(epoch=epoch)] == [1, 3, 5]


def test_a_metric_that_improved_at_a_saved_step_is_saved_at_the_next() -> None:
    cadence = Cadence(parse("every:5steps | improved:val_loss"))

    assert cadence.should_save(step=5)
    assert not cadence.should_save(step=5, epoch=0, metrics={"val_loss": 0.5})
    assert cadence.should_save(step=6)
    assert not cadence.should_save(step=7)


def test_an_improvement_waits_until_another_rule_allows_it() -> None:
    cadence = Cadence(parse("every:10steps & improved:val_loss"))
    values = {3: {"val_loss": 0.5}, 14: {"val_loss": 0.4}, 35: {"val_loss": 0.6}}

    assert [step for step in range(1, 60) if cadence.should_save(step=step, metrics=values.get(step))] == [10, 20]


def test_a_save_that_nobody_asked_about_counts() -> None:
    cadence = Cadence(parse("every:10m | every:100steps"), clock := Clock())
    clock.now_s = 500.0
    cadence.saved(step=99, stall_s=1.0)
    clock.now_s = 700.0

    assert not cadence.should_save(step=99)
    assert cadence.should_save(step=100)
    assert not cadence.should_save(step=101)


def test_after_a_step_back_it_saves_on() -> None:
    cadence = Cadence(EverySteps(100))
    assert cadence.should_save(step=500)

    assert [step for step in range(250, 420) if cadence.should_save(step=step)] == [300, 400]


def test_the_best_of_the_run_is_known_after_a_resume() -> None:
    cadence = Cadence(parse("improved:val_loss"))
    cadence.resumed(step=20, saved=[{"val_loss": 0.5}, {"val_loss": 0.25}, {"val_loss": float("nan")}])

    assert not cadence.should_save(step=21, metrics={"val_loss": 0.3})
    assert cadence.should_save(step=22, metrics={"val_loss": 0.2})


def test_a_resumed_step_is_saved_already() -> None:
    cadence = Cadence(parse("last | first"))
    cadence.resumed(step=20)

    assert not cadence.should_save(step=20, last=True)


def test_an_exception_is_asked_about_at_the_last_known_step() -> None:
    cadence = Cadence(parse("on-exception"))
    cadence.should_save(step=7)

    assert cadence.should_save(error=RuntimeError("CUDA out of memory")).urgent
    assert not cadence.should_save(error=RuntimeError("again"))


def test_a_signal_is_answered_by_whatever_save_comes_next() -> None:
    cadence = Cadence(parse("every:5steps | on-signal"))
    cadence.signalled("SIGUSR1", stop=False)

    assert cadence.should_save(step=1).urgent
    assert not cadence.should_save(step=2)
    assert not cadence.should_stop


def test_a_signal_that_ends_the_training_sets_a_deadline() -> None:
    clock, decision = Clock(), Watching()
    cadence = Cadence(decision, clock, limit_s=1000.0)
    cadence.signalled("SIGTERM", stop=True, grace_s=30.0)
    clock.now_s = 10.0
    cadence.should_save(step=1)

    assert (decision.moments[-1].left_s, decision.moments[-1].signal) == (20.0, "SIGTERM")


def test_a_training_is_to_stop_once_it_has_saved_after_the_signal_and_not_before() -> None:
    cadence = Cadence(parse("every:10steps | on-signal"))
    assert not cadence.should_save(step=7)
    cadence.signalled("SIGTERM", stop=True)  # between this question and the next
    assert not cadence.should_stop
    assert cadence.should_save(step=8)

    assert cadence.should_stop


@pytest.mark.parametrize("step", [-1, 1.5, "3", 2**63, True])
def test_what_is_no_step_is_refused(step: Any) -> None:
    with pytest.raises(MetricError, match="step="):
        Cadence(EverySteps(1)).should_save(step=step)


def test_a_metric_beyond_every_float_does_no_harm() -> None:
    cadence = Cadence(parse("improved:val_loss | improved:acc"))

    assert not cadence.should_save(step=1, metrics={"val_loss": -(10**400), "acc": 10**400})


def test_what_is_no_decision_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no save decision"):
        Cadence("every:5steps")  # type: ignore[arg-type]


def test_costs_and_metrics_of_several_threads_are_all_counted() -> None:
    cadence = Cadence(Not(EverySteps(1)))

    def work() -> None:
        for _ in range(500):
            cadence.saved(stall_s=1.0)
            cadence.note({"loss": 1.0})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(200):
        cadence.should_save(step=step)
    for thread in threads:
        thread.join()

    assert cadence._moment(None, False, None).stalled_s == 2000.0
