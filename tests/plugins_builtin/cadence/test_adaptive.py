"""The adaptive rule saves at the interval of Young and Daly, and never spends more than its budget."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.cadence import Adaptive, Cadence, EverySeconds, Rule


class Simulation:
    """A training of steps that take `step_s`, in which each save holds it up for the next of `stalls_s`."""

    def __init__(self, rule: Rule, stalls_s: list[float], *, step_s: float = 1.0, write_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.cadence = Cadence(rule, clock=lambda: self.now_s)
        self.stalls_s, self.step_s, self.write_s = stalls_s, step_s, write_s
        self.saves: list[tuple[float, float]] = []
        """When each save began, and how long it held the training up."""

    def run(self, steps: int) -> list[tuple[float, float]]:
        for step in range(1, steps + 1):
            self.now_s += self.step_s
            if self.cadence.should_save(step=step):
                stall_s = self.stalls_s[len(self.saves) % len(self.stalls_s)]
                self.saves.append((self.now_s, stall_s))
                self.now_s += stall_s
                self.cadence.saved(stall_s=stall_s, write_s=self.write_s)
        return self.saves


@given(
    st.lists(st.floats(0, 60), min_size=1, max_size=20),
    st.floats(0.1, 50),
    st.floats(60, 1e7),
    st.floats(0.05, 30),
)
def test_it_stays_within_its_budget(stalls_s: list[float], budget: float, mtbf_s: float, step_s: float) -> None:
    saves = Simulation(Adaptive(budget, mtbf_s), stalls_s, step_s=step_s).run(3000)

    spent_s = 0.0
    for number, (began_s, stall_s) in enumerate(saves):
        if number:  # what is known when it saves: the costs so far, and the dearest of the last ones to come
            expected_s = max(each for _, each in saves[max(0, number - 8) : number])
            assert spent_s + expected_s <= budget / 100 * began_s * (1 + 1e-9)
        spent_s += stall_s
        # so at no time is more spent than the budget and one save that was dearer than those before it
        assert spent_s <= budget / 100 * (began_s + stall_s) + max(each for _, each in saves[: number + 1]) + 1e-9


@given(st.floats(0.01, 20), st.floats(0.5, 20))
def test_with_steady_costs_the_budget_is_kept_after_each_save_but_the_first(stall_s: float, budget: float) -> None:
    saves = Simulation(Adaptive(budget), [stall_s]).run(5000)

    for number, (began_s, _) in enumerate(saves[1:], start=2):
        assert number * stall_s <= budget / 100 * (began_s + stall_s) * (1 + 1e-9)


def test_the_interval_is_that_of_young_and_daly_where_the_budget_allows_it() -> None:
    saves = Simulation(Adaptive(100.0, mtbf_s=7200.0), [1.0]).run(2000)
    pauses = [later - earlier - 1.0 for (earlier, _), (later, _) in pairwise(saves[1:])]

    assert set(pauses) == {math.sqrt(2 * 1.0 * 7200.0)}  # 120 s, of whole steps


def test_a_save_never_comes_before_the_last_one_can_be_durable() -> None:
    saves = Simulation(Adaptive(100.0, mtbf_s=60.0), [0.01], write_s=90.0).run(500)

    assert all(later - earlier >= 90 for (earlier, _), (later, _) in pairwise(saves[1:]))


def test_saves_of_other_rules_are_paid_from_the_same_budget() -> None:
    alone = Simulation(Adaptive(1.0), [2.0]).run(5000)
    beside = Simulation(EverySeconds(150) | Adaptive(1.0), [2.0]).run(5000)

    assert len(alone) > 5
    assert all(later - earlier >= 150 for (earlier, _), (later, _) in pairwise(beside))  # 1.3 %: nothing is left


@pytest.mark.parametrize("stall_s", [0.0, 1e-9])
def test_saves_that_cost_nothing_are_not_made_at_every_step(stall_s: float) -> None:
    saves = Simulation(Adaptive(), [stall_s], step_s=0.5).run(2000)

    assert len(saves) <= 1000 / 10
