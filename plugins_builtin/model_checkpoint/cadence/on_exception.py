"""When an exception ends the training: ``on-exception``."""

from __future__ import annotations

from dataclasses import dataclass

from model_checkpoint.cadence.arguments import nothing
from model_checkpoint.cadence.composition import Rule
from model_checkpoint.contracts import Decision, Moment


@dataclass(frozen=True, slots=True, repr=False)
class OnException(Rule):
    """Saves what there is when the training ends with an exception, Ctrl-C included."""

    @property
    def text(self) -> str:
        """``on-exception``."""
        return "on-exception"

    def decide(self, moment: Moment) -> Decision:
        """Say whether there is an exception."""
        if moment.error:
            return Decision(True, f"on-exception: {' '.join(moment.error.split())}", urgent=True)
        return Decision(False, "on-exception: there is none")


def create(argument: str) -> OnException:
    """Return the rule. Raises ``ConfigurationError``."""
    nothing(argument, "on-exception")
    return OnException()
