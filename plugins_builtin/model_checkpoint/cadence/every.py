"""At regular intervals: ``every:500steps``, ``every:2epochs``, ``every:10m``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from model_checkpoint.cadence.composition import Rule
from model_checkpoint.cadence.quantities import checked_seconds, count, duration, seconds
from model_checkpoint.contracts import Decision, Moment
from model_checkpoint.errors import ConfigurationError

_COUNTED = re.compile(r"(\d{1,19}) *(steps?|epochs?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class EverySteps(Rule):
    """Saves once a multiple of `steps` was reached since the last save, so that none is missed, however often it is
    asked, and a save of another cause delays none."""

    steps: int

    def __post_init__(self) -> None:
        count(self.steps, "the number of steps")

    @property
    def text(self) -> str:
        """``every:500steps``."""
        return f"every:{self.steps}step{'s' if self.steps > 1 else ''}"

    def decide(self, moment: Moment) -> Decision:
        """Say whether a multiple lies between the last save and now."""
        if moment.step is None:
            return Decision(False, f"{self.text}: the step is not known")
        reached = moment.step // self.steps
        if reached > moment.saved_step // self.steps:
            return Decision(True, f"{self.text}: step {reached * self.steps}")
        return Decision(False, f"{self.text}: next at step {(moment.saved_step // self.steps + 1) * self.steps}")


@dataclass(frozen=True, slots=True, repr=False)
class EveryEpochs(Rule):
    """Saves at the end of an epoch, once a multiple of `epochs` of them have ended since the last such save."""

    epochs: int

    def __post_init__(self) -> None:
        count(self.epochs, "the number of epochs")

    @property
    def text(self) -> str:
        """``every:2epochs``."""
        return f"every:{self.epochs}epoch{'s' if self.epochs > 1 else ''}"

    def decide(self, moment: Moment) -> Decision:
        """Say whether a multiple lies between the last save at an epoch's end and this one."""
        if moment.epoch is None:
            return Decision(False, f"{self.text}: no epoch has ended at this step")
        ended, saved = moment.epoch + 1, moment.saved_epoch + 1  # epochs are counted from 0
        if ended // self.epochs > saved // self.epochs:
            return Decision(True, f"{self.text}: epoch {moment.epoch} has ended")
        return Decision(False, f"{self.text}: next after epoch {(saved // self.epochs + 1) * self.epochs - 1}")


@dataclass(frozen=True, slots=True, repr=False)
class EverySeconds(Rule):
    """Saves where the last save is that long ago, of whatever cause it was."""

    interval_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval_s", checked_seconds(self.interval_s, "the interval"))

    @property
    def text(self) -> str:
        """``every:10m``."""
        return f"every:{duration(self.interval_s)}"

    def decide(self, moment: Moment) -> Decision:
        """Say whether the last save is long ago."""
        if moment.since_save_s >= self.interval_s:
            return Decision(True, f"{self.text}: {moment.since_save_s:.0f} s since the last save")
        return Decision(False, f"{self.text}: in {self.interval_s - moment.since_save_s:.0f} s")


def create(argument: str) -> Rule:
    """Return what ``every:`` means with this argument. Raises ``ConfigurationError``."""
    counted = _COUNTED.fullmatch(argument)
    if counted:
        amount, unit = int(counted[1]), counted[2].lower()
        return EverySteps(amount) if unit.startswith("step") else EveryEpochs(amount)
    if not argument or argument.isdigit():
        raise ConfigurationError("say every how many of what: every:500steps, every:2epochs or every:10m")
    return EverySeconds(seconds(argument, "the interval"))
