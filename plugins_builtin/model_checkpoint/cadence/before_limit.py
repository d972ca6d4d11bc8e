"""Before the job's time is over: ``before-limit:5m``, ``before-limit:5m,limit=4h``."""

from __future__ import annotations

from dataclasses import dataclass

from model_checkpoint.cadence.arguments import split
from model_checkpoint.cadence.composition import Rule
from model_checkpoint.cadence.quantities import checked_seconds, duration, seconds
from model_checkpoint.contracts import Decision, Moment
from model_checkpoint.errors import ConfigurationError


@dataclass(frozen=True, slots=True, repr=False)
class BeforeLimit(Rule):
    """Saves once, when no more than `margin_s`, and what the slowest of the last saves took, is left of the job's time.

    `limit_s` is the time that the training has from its start; without it, the job scheduler tells.
    """

    margin_s: float
    limit_s: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin_s", checked_seconds(self.margin_s, "the margin"))
        if self.limit_s is not None:
            object.__setattr__(self, "limit_s", checked_seconds(self.limit_s, "the limit"))

    @property
    def text(self) -> str:
        """``before-limit:5m``, with the limit where it was given."""
        limit = f",limit={duration(self.limit_s)}" if self.limit_s is not None else ""
        return f"before-limit:{duration(self.margin_s)}{limit}"

    def decide(self, moment: Moment) -> Decision:
        """Say whether the end is near, and nothing was saved since it is."""
        left_s = moment.left_s
        if self.limit_s is not None:
            own_s = self.limit_s - moment.since_start_s
            left_s = own_s if left_s is None else min(own_s, left_s)
        if left_s is None:
            return Decision(False, "before-limit: no limit is known")
        margin_s = self.margin_s + max((*moment.stalls_s, *moment.writes_s), default=0.0)
        if left_s > margin_s:
            return Decision(False, f"before-limit: {left_s:.0f} s are left")
        if moment.save_count and moment.since_save_s <= margin_s - left_s:
            return Decision(False, f"before-limit: {left_s:.0f} s are left, and there was a save")
        return Decision(True, f"before-limit: {left_s:.0f} s are left", urgent=True)


def create(argument: str) -> BeforeLimit:
    """Return the rule. Raises ``ConfigurationError``."""
    values, named = split(argument, ("limit",))
    if len(values) != 1:
        raise ConfigurationError("say how long before the limit: before-limit:5m")
    limit_s = seconds(named["limit"], "the limit") if "limit" in named else None
    return BeforeLimit(seconds(values[0], "the margin"), limit_s)
