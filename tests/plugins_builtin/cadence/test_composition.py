"""Rules joined by ``| & ~`` obey the laws that those signs promise, and are read back from their text."""

from __future__ import annotations

import pickle
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.cadence import AnyOf, EverySteps, Last, OnException, OnSignal, Rule, parse
from model_checkpoint.contracts import Decision, Moment

DRAWN: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("rules.py")))
RULES: st.SearchStrategy[Rule] = DRAWN["RULES"]
MOMENTS: st.SearchStrategy[Moment] = DRAWN["MOMENTS"]


def saves(rule: Rule, moment: Moment) -> bool:
    return rule.decide(moment).save


@given(RULES, RULES, RULES, MOMENTS)
def test_the_laws_of_boolean_algebra_hold(a: Rule, b: Rule, c: Rule, moment: Moment) -> None:
    def same(left: Rule, right: Rule) -> bool:
        return saves(left, moment) == saves(right, moment)

    assert saves(a | b, moment) == (saves(a, moment) or saves(b, moment))
    assert saves(a & b, moment) == (saves(a, moment) and saves(b, moment))
    assert saves(~a, moment) != saves(a, moment)
    assert same(a | b, b | a)
    assert same(a & b, b & a)
    assert same(a & (b | c), (a & b) | (a & c))
    assert same(a | (b & c), (a | b) & (a | c))
    assert same(~(a | b), ~a & ~b)
    assert same(~(a & b), ~a | ~b)
    assert same(~~a, a)


@given(RULES, RULES, RULES)
def test_brackets_that_change_nothing_are_not_there(a: Rule, b: Rule, c: Rule) -> None:
    assert (a | b) | c == a | (b | c)
    assert (a & b) & c == a & (b & c)


@given(RULES)
def test_the_text_of_a_rule_is_read_back_as_the_same_rule(rule: Rule) -> None:
    assert parse(str(rule)) == rule
    assert repr(rule) == str(rule)


@given(RULES)
def test_a_rule_is_pickled_as_the_value_that_it_is(rule: Rule) -> None:
    again = pickle.loads(pickle.dumps(rule))

    assert (again, hash(again)) == (rule, hash(rule))


@given(RULES, MOMENTS)
def test_the_same_moment_has_the_same_answer_of_one_line(rule: Rule, moment: Moment) -> None:
    answer = rule.decide(moment)

    assert answer == rule.decide(moment)
    assert answer.reason
    assert len(answer.reason.splitlines()) == 1
    assert answer.save or not answer.urgent


def test_a_yes_has_the_reasons_of_those_who_said_it() -> None:
    answer = (EverySteps(5) | Last() | OnException()).decide(Moment(step=5, last=True))

    assert answer == Decision(True, "every:5steps: step 5; last: the training ends here", urgent=True)


def test_a_yes_is_urgent_where_one_of_those_who_said_it_is() -> None:
    rule = EverySteps(5) & OnSignal()

    assert rule.decide(Moment(step=5, signal="SIGTERM")).urgent
    assert not (EverySteps(5) | OnSignal()).decide(Moment(step=5)).urgent


class Stranger:
    """A save decision that knows nothing of rules."""

    def __str__(self) -> str:
        return "stranger"

    def decide(self, moment: Moment) -> Decision:
        return Decision(True, "always")


def test_a_decision_of_somebody_else_joins_on_either_side() -> None:
    left, right = Stranger() | Last(), Last() & Stranger()  # type: ignore[operator]

    assert (str(left), str(right)) == ("stranger | last", "last & stranger")
    assert saves(left, Moment())
    assert not saves(right, Moment())


@pytest.mark.parametrize("other", ["last", None, 5, EverySteps])
def test_what_is_no_decision_does_not_join(other: object) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = Last() | other  # type: ignore[operator]


def test_one_of_three_is_one_level() -> None:
    assert (Last() | EverySteps(1) | OnException()) == AnyOf((Last(), EverySteps(1), OnException()))
