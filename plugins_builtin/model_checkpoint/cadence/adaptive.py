"""As often as it pays, from what saves have cost: ``adaptive``, ``adaptive:1%,mtbf=6h``.

The interval that loses the least time is sqrt(2 x cost x mean time between failures): Young, "A first order
approximation to the optimum checkpoint interval", 1974; Daly 2006 has the higher orders, which change it little where a
save is short. The budget is that of CheckFreq (Mohan and others, FAST 2021): saves may hold the training up for such a
part of its time and no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model_checkpoint.cadence.arguments import split
from model_checkpoint.cadence.composition import Rule
from model_checkpoint.cadence.quantities import checked_seconds, duration, number, percent, seconds
from model_checkpoint.contracts import Decision, Moment
from model_checkpoint.errors import ConfigurationError

BUDGET_PERCENT = 3.0
MTBF_S = 86_400.0
FIRST_S = 60.0
"""The first save comes so long after the start: until then nothing is known of the cost, and little is lost."""
SHORTEST_S = 10.0
"""No shorter interval, however cheap a save is."""


@dataclass(frozen=True, slots=True, repr=False)
class Adaptive(Rule):
    """Saves at the interval of Young and Daly, and as rarely as the budget wants it.

    A save is expected to cost what the dearest of the last ones did. It is put off while all stalls so far and the
    expected one are more than `budget_percent` of the time since the start: what other rules save is paid from the same
    budget. The interval is never shorter than a write takes.
    """

    budget_percent: float = BUDGET_PERCENT
    mtbf_s: float = MTBF_S

    def __post_init__(self) -> None:
        if not isinstance(self.budget_percent, (int, float)) or not 0 < self.budget_percent <= 100:
            raise ConfigurationError(f"the budget is a percentage above 0 and up to 100, not {self.budget_percent!r}")
        object.__setattr__(self, "budget_percent", float(self.budget_percent))
        object.__setattr__(self, "mtbf_s", checked_seconds(self.mtbf_s, "mtbf"))

    @property
    def text(self) -> str:
        """``adaptive``, and whatever does not go without saying."""
        parts = [f"{number(self.budget_percent)}%"] if self.budget_percent != BUDGET_PERCENT else []
        parts += [f"mtbf={duration(self.mtbf_s)}"] if self.mtbf_s != MTBF_S else []
        return f"adaptive:{','.join(parts)}" if parts else "adaptive"

    def interval_s(self, moment: Moment) -> float:
        """Return the time between two saves that pays best, from what the last ones have cost."""
        if not moment.stalls_s:
            return FIRST_S
        stall_s, write_s = max(0.0, *moment.stalls_s), max((0.0, *moment.writes_s))
        return max(SHORTEST_S, write_s, math.sqrt(2 * stall_s * self.mtbf_s), 100 * stall_s / self.budget_percent)

    def decide(self, moment: Moment) -> Decision:
        """Say whether the interval is over and a save can be afforded."""
        interval_s = self.interval_s(moment)
        if not moment.since_save_s >= interval_s:
            return Decision(False, f"adaptive: in {interval_s - moment.since_save_s:.0f} s of {interval_s:.0f} s")
        spent_s = moment.stalled_s + max((0.0, *moment.stalls_s))
        if spent_s > self.budget_percent / 100 * moment.since_start_s:
            return Decision(False, f"adaptive: {spent_s:.1f} s of stalls would exceed {number(self.budget_percent)} %")
        return Decision(True, f"adaptive: {moment.since_save_s:.0f} s since the last save, {interval_s:.0f} s pay best")


def create(argument: str) -> Adaptive:
    """Return the rule. Raises ``ConfigurationError``."""
    values, named = split(argument, ("mtbf",))
    if len(values) > 1:
        raise ConfigurationError(f"{values[1]!r} is one too many: a percentage, and mtbf=")
    budget = percent(values[0], "the budget") if values else BUDGET_PERCENT
    return Adaptive(budget, seconds(named["mtbf"], "mtbf") if "mtbf" in named else MTBF_S)
