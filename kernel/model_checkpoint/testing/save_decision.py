"""The conformance kit for save decisions: what ``model_checkpoint.contracts.cadence`` asks for, as tests.

::

    from model_checkpoint.testing import SaveDecisionTests
    from my_plugin import register_save_decisions

    class TestMyDecision(SaveDecisionTests):
        arguments = ("100", "250")           # what may follow the colon, each another decision
        wrong = ("", "many")                 # what may not

        @pytest.fixture
        def descriptor(self):
            return register_save_decisions(kernel=None)[0]

        @pytest.fixture
        def saves(self):
            return Moment(step=100)          # a moment at which the one of arguments[0] saves

        @pytest.fixture
        def saves_not(self):
            return Moment(step=99)

The rules are those of the contract.
"""

from __future__ import annotations

import copy
import math
import pickle
import re
from typing import ClassVar

import pytest

from model_checkpoint.contracts import Decision, Moment, SaveDecision, SaveDecisionDescriptor
from model_checkpoint.errors import ConfigurationError
from model_checkpoint.testing.record_samples import rule

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_ODD_METRICS = {"loss": math.nan, "val_loss": math.inf, "accuracy": -math.inf, "": 0.0, "a | b": -0.0}
MOMENTS = {
    "nothing is known": Moment(),
    "the first step": Moment(step=0, epoch=0),
    "an ordinary one": Moment(
        step=1200,
        epoch=3,
        since_start_s=600.0,
        since_save_s=60.0,
        saved_step=1100,
        saved_epoch=2,
        save_count=11,
        metrics={"loss": 0.25, "val_loss": 0.5},
        lowest={"loss": 0.25, "val_loss": 0.625},
        highest={"loss": 2.0, "val_loss": 1.0},
        stalls_s=(0.5, 0.25),
        writes_s=(2.0, 3.0),
        stalled_s=4.0,
    ),
    "a step back": Moment(step=10, saved_step=500, saved_epoch=4, save_count=3, resumed=True),
    "the largest step": Moment(step=2**63 - 1, epoch=2**63 - 1),
    "metrics that are no numbers": Moment(step=7, metrics=_ODD_METRICS),
    "times that are none": Moment(
        step=7, since_start_s=math.nan, since_save_s=math.inf, stalls_s=(math.nan,), writes_s=(math.inf,), left_s=-1.0
    ),
    "no time left": Moment(step=7, left_s=0.0, signal="SIGTERM"),
    "a signal that nobody knows": Moment(step=7, signal="SIG?"),
    "an exception of many lines": Moment(step=7, error="ValueError: one\ntwo\r\nthree"),
    "the last step": Moment(step=7, last=True),
}


class SaveDecisionTests:
    """Subclass it and give `arguments`, `wrong`, `descriptor`, `saves` and `saves_not`: see the module's docstring."""

    arguments: ClassVar[tuple[str, ...]] = ("",)
    """What may follow the colon; each makes another decision."""
    wrong: ClassVar[tuple[str, ...]] = ("?!",)
    """What may not."""

    @pytest.fixture
    def descriptor(self) -> SaveDecisionDescriptor:
        """What the plugin provides."""
        raise NotImplementedError("override the fixture `descriptor`")

    @pytest.fixture
    def saves(self) -> Moment:
        """A moment at which the decision made of the first argument saves."""
        raise NotImplementedError("override the fixture `saves`")

    @pytest.fixture
    def saves_not(self) -> Moment:
        """A moment at which it does not."""
        raise NotImplementedError("override the fixture `saves_not`")

    @rule(1)
    def test_its_name_is_a_word_and_its_summary_a_line(self, descriptor: SaveDecisionDescriptor) -> None:
        assert _NAME.fullmatch(descriptor.name), f"{descriptor.name!r} is no lower-case word"
        assert descriptor.summary.strip(), "it has no summary"
        assert len(descriptor.summary.splitlines()) == 1

    @rule(2)
    def test_a_wrong_argument_is_refused_with_a_configuration_error(self, descriptor: SaveDecisionDescriptor) -> None:
        for argument in self.wrong:
            with pytest.raises(ConfigurationError):
                descriptor.create(argument)

    @rule(3)
    def test_every_moment_has_an_answer_of_one_line(self, descriptor: SaveDecisionDescriptor) -> None:
        for argument in self.arguments:
            decision = descriptor.create(argument)
            for name, moment in MOMENTS.items():
                answer = decision.decide(moment)
                assert isinstance(answer, Decision), name
                assert (type(answer.save), type(answer.urgent)) == (bool, bool), name
                assert answer.reason.strip() and answer.reason.isprintable(), f"{name}: {answer.reason!r}"  # noqa: PT018

    @rule(4)
    def test_the_same_moment_has_the_same_answer(self, descriptor: SaveDecisionDescriptor) -> None:
        decision = descriptor.create(self.arguments[0])
        before = {name: copy.deepcopy(moment) for name, moment in MOMENTS.items()}
        answers = {name: _save(decision, moment) for name, moment in MOMENTS.items()}
        for name, moment in reversed(MOMENTS.items()):
            assert _save(decision, moment) == answers[name], name
        assert repr(MOMENTS) == repr(before), "a moment was changed"

    @rule(5)
    def test_it_is_a_value(self, descriptor: SaveDecisionDescriptor) -> None:
        made = [descriptor.create(argument) for argument in self.arguments]
        again = [descriptor.create(argument) for argument in self.arguments]
        for one, other in zip(made, again, strict=True):
            assert one == other
            assert hash(one) == hash(other)
        assert len(set(made)) == len(made), "different arguments make equal decisions"

    @rule(5)
    def test_it_cannot_be_changed(self, descriptor: SaveDecisionDescriptor) -> None:
        decision = descriptor.create(self.arguments[0])
        for name in _fields_of(decision):
            with pytest.raises((AttributeError, TypeError)):
                setattr(decision, name, getattr(decision, name))

    @rule(6)
    def test_its_text_makes_it_again(self, descriptor: SaveDecisionDescriptor) -> None:
        for argument in self.arguments:
            name, _, written = str(descriptor.create(argument)).partition(":")
            assert name == descriptor.name
            assert str(descriptor.create(written)) == str(descriptor.create(argument))

    @rule(7)
    def test_it_is_copied_and_pickled(self, descriptor: SaveDecisionDescriptor) -> None:
        for argument in self.arguments:
            decision = descriptor.create(argument)
            for copied in (copy.deepcopy(decision), pickle.loads(pickle.dumps(decision))):
                assert str(copied) == str(decision)

    @rule(8)
    def test_it_saves_and_does_not_save(
        self, descriptor: SaveDecisionDescriptor, saves: Moment, saves_not: Moment
    ) -> None:
        yes, no = (descriptor.create(self.arguments[0]).decide(moment) for moment in (saves, saves_not))
        assert yes.save is True, yes.reason
        assert no.save is False, no.reason


def _save(decision: SaveDecision, moment: Moment) -> tuple[bool, bool]:
    answer = decision.decide(moment)
    return answer.save, answer.urgent


def _fields_of(decision: SaveDecision) -> list[str]:
    named = [*getattr(type(decision), "__dataclass_fields__", ()), *getattr(decision, "__dict__", ())]
    return named or ["anything"]
