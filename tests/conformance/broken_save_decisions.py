"""For each rule of the kit a save decision that breaks this one alone: the whole one, with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model_checkpoint.contracts import Decision, Moment, SaveDecision, SaveDecisionDescriptor
from model_checkpoint.errors import ConfigurationError

ARGUMENTS, WRONG = ("100", "250"), ("", "many", "-5")
SAVES, SAVES_NOT = Moment(step=100), Moment(step=99)


@dataclass(frozen=True)
class From:
    """Saves from a step on."""

    step: int

    def __str__(self) -> str:
        return f"from:{self.step}"

    def decide(self, moment: Moment) -> Decision:
        if moment.step is None:
            return Decision(False, "the step is not known")
        return Decision(moment.step >= self.step, f"from step {self.step}")


def number(argument: str) -> int:
    if not argument.isdecimal():
        raise ConfigurationError(f"from: is followed by a step, not by {argument!r}")
    return int(argument)


def of(kind: Callable[[int], SaveDecision]) -> Callable[[], SaveDecisionDescriptor]:
    return lambda: SaveDecisionDescriptor("from", lambda argument: kind(number(argument)), "from a step on")


def called_by_a_sentence() -> SaveDecisionDescriptor:
    return SaveDecisionDescriptor("from", lambda argument: From(number(argument)), "from a step on\nand so forth")


def takes_what_it_cannot_read() -> SaveDecisionDescriptor:
    def create(argument: str) -> From:
        return From(int(argument))  # a ValueError, and not one that says what to do

    return SaveDecisionDescriptor("from", create, "from a step on")


class SaysNothingWhereItKnowsNothing(From):
    def decide(self, moment: Moment) -> Decision:
        return Decision(False, "") if moment.step is None else super().decide(moment)


class CountsItsQuestions(From):
    asked = [0]  # noqa: RUF012

    def decide(self, moment: Moment) -> Decision:
        self.asked[0] += 1
        given = super().decide(moment)
        return Decision(given.save, given.reason, urgent=self.asked[0] % 2 == 0)


class EqualToItselfAlone(From):
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = From.__hash__


class WritesItAnotherWay(From):
    def __str__(self) -> str:
        return f"from-step:{self.step}"


class StaysInItsProcess(From):
    def __reduce__(self) -> str:
        raise TypeError("it holds what cannot be copied")


class NeverSaves(From):
    def decide(self, moment: Moment) -> Decision:
        return Decision(False, "never")


whole = of(From)
BROKEN: dict[int, Callable[[], SaveDecisionDescriptor]] = {
    1: called_by_a_sentence,
    2: takes_what_it_cannot_read,
    3: of(SaysNothingWhereItKnowsNothing),
    4: of(CountsItsQuestions),
    5: of(EqualToItselfAlone),
    6: of(WritesItAnotherWay),
    7: of(StaysInItsProcess),
    8: of(NeverSaves),
}
