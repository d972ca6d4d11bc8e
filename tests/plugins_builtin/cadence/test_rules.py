"""What each rule says, at moments where it matters."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.cadence import (
    BeforeLimit,
    EveryEpochs,
    EverySeconds,
    EverySteps,
    First,
    Improved,
    Last,
    OnException,
    OnSignal,
)
from model_checkpoint.contracts import Moment
from model_checkpoint.errors import ConfigurationError


@given(st.integers(1, 50), st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_every_n_steps_misses_no_multiple_however_often_it_is_asked(steps: int, strides: list[int]) -> None:
    rule, step, saved = EverySteps(steps), 0, 0
    for stride in strides:
        step += stride
        crossed = any(each % steps == 0 for each in range(saved + 1, step + 1))
        answer = rule.decide(Moment(step=step, saved_step=saved))
        assert answer.save == crossed
        saved = step if answer.save else saved


def test_a_save_of_another_cause_delays_no_multiple() -> None:
    assert EverySteps(500).decide(Moment(step=1000, saved_step=730))


def test_a_save_that_did_not_come_about_is_made_up_for_at_the_next_step() -> None:
    assert EverySteps(500).decide(Moment(step=503, saved_step=20))


def test_step_0_is_no_multiple() -> None:
    assert not EverySteps(1).decide(Moment(step=0))


@given(st.integers(1, 9))
def test_every_n_epochs_saves_after_the_nth_and_only_at_ends(epochs: int) -> None:
    rule, saved, saves = EveryEpochs(epochs), -1, []
    for epoch in range(4 * epochs):
        assert not rule.decide(Moment(step=epoch, saved_epoch=saved))  # within an epoch
        if rule.decide(Moment(epoch=epoch, saved_epoch=saved)):
            saved = epoch
            saves.append(epoch)

    assert saves == [epochs - 1, 2 * epochs - 1, 3 * epochs - 1, 4 * epochs - 1]


def test_every_t_seconds_counts_from_the_last_save() -> None:
    rule = EverySeconds(600)

    assert not rule.decide(Moment(since_start_s=5000.0, since_save_s=599.9))
    assert rule.decide(Moment(since_start_s=5000.0, since_save_s=600.0))


def test_first_is_not_for_a_training_that_goes_on() -> None:
    assert not First().decide(Moment(step=1501, resumed=True))


def test_the_last_save_is_urgent() -> None:
    assert Last().decide(Moment(last=True)).urgent


def test_an_improvement_is_one_over_the_best_that_was_saved() -> None:
    rule = Improved("val_loss", delta=0.1)
    saved = {"val_loss": 0.5}

    assert not rule.decide(Moment(metrics={"val_loss": 0.41}, lowest=saved))
    assert rule.decide(Moment(metrics={"val_loss": 0.39}, lowest=saved))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_is_not_finite_improves_nothing(value: float, mode: str) -> None:
    assert not Improved("x", mode).decide(Moment(metrics={"x": value}))


def test_the_first_value_is_an_improvement() -> None:
    assert Improved("accuracy").decide(Moment(metrics={"accuracy": 0.1}))


def test_the_better_direction_shows_in_the_name_or_is_asked_for() -> None:
    assert Improved("accuracy").mode == "max"
    with pytest.raises(ConfigurationError, match="write improved:zeta,min or zeta,max"):
        Improved("zeta")


def test_the_reason_of_an_exception_is_one_line() -> None:
    assert OnException().decide(Moment(error="ValueError: a\n b")).reason == "on-exception: ValueError: a b"


def test_a_signal_that_was_not_asked_for_saves_nothing() -> None:
    assert not OnSignal(("SIGUSR1",)).decide(Moment(signal="SIGTERM"))


def test_before_the_limit_there_is_one_save() -> None:
    rule = BeforeLimit(300.0)

    assert rule.decide(Moment(left_s=300.0, since_save_s=1000.0, save_count=3)).urgent
    assert not rule.decide(Moment(left_s=290.0, since_save_s=9.0, save_count=4))


def test_a_training_that_begins_shortly_before_the_limit_saves_at_once() -> None:
    assert BeforeLimit(300.0).decide(Moment(left_s=100.0, since_save_s=0.0, resumed=True))


def test_the_margin_grows_by_what_the_slowest_save_took() -> None:
    rule = BeforeLimit(300.0)

    assert not rule.decide(Moment(left_s=350.0, since_save_s=1e4, save_count=1))
    assert rule.decide(Moment(left_s=350.0, since_save_s=1e4, save_count=1, writes_s=(10.0, 60.0)))


def test_a_limit_that_was_given_counts_from_the_start() -> None:
    rule = BeforeLimit(300.0, limit_s=3600.0)

    assert not rule.decide(Moment(since_start_s=3299.0, since_save_s=3299.0))
    assert rule.decide(Moment(since_start_s=3300.0, since_save_s=3300.0))


def test_a_rule_is_a_value_that_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EverySteps(5).steps = 6  # type: ignore[misc]
    assert EverySeconds(60) == EverySeconds(60.0)
    assert {EverySteps(5), EverySteps(5)} == {EverySteps(5)}
