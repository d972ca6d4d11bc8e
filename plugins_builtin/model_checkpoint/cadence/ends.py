"""At the two ends of a training: ``first`` and ``last``."""

from __future__ import annotations

from dataclasses import dataclass

from model_checkpoint.cadence.arguments import nothing
from model_checkpoint.cadence.composition import Rule
from model_checkpoint.contracts import Decision, Moment


@dataclass(frozen=True, slots=True, repr=False)
class First(Rule):
    """Saves when it is first asked, where the training begins anew: to see at once that saving works."""

    @property
    def text(self) -> str:
        """``first``."""
        return "first"

    def decide(self, moment: Moment) -> Decision:
        """Say whether there is no save yet."""
        if moment.resumed:
            return Decision(False, "first: the training goes on from a checkpoint")
        if moment.save_count:
            return Decision(False, "first: there was a save")
        return Decision(True, "first: nothing is saved yet")


@dataclass(frozen=True, slots=True, repr=False)
class Last(Rule):
    """Saves at the step that the training says is its last."""

    @property
    def text(self) -> str:
        """``last``."""
        return "last"

    def decide(self, moment: Moment) -> Decision:
        """Say whether this is the last step."""
        if moment.last:
            return Decision(True, "last: the training ends here", urgent=True)
        return Decision(False, "last: the training goes on")


def create_first(argument: str) -> First:
    """Return the rule. Raises ``ConfigurationError``."""
    nothing(argument, "first")
    return First()


def create_last(argument: str) -> Last:
    """Return the rule. Raises ``ConfigurationError``."""
    nothing(argument, "last")
    return Last()
