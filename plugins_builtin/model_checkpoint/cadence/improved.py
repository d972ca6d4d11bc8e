"""When a metric is better than in every save so far: ``improved:val_loss``, ``improved:zeta,max,delta=0.01``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model_checkpoint.cadence.arguments import quoted, split
from model_checkpoint.cadence.composition import Rule
from model_checkpoint.cadence.quantities import number
from model_checkpoint.common.numbers import MAX_METRIC_NAME_LENGTH, metric_mode
from model_checkpoint.contracts import Decision, Moment
from model_checkpoint.errors import ConfigurationError


@dataclass(frozen=True, slots=True, repr=False)
class Improved(Rule):
    """Saves where `metric` is better than the best that was saved, by more than `delta`.

    What counts is the best *saved*: small steps add up until they are more than `delta`, and where another rule forbids
    a save, the improvement waits. NaN and infinities improve nothing. `mode` is ``min`` or ``max``; None tells it by
    the name.
    """

    metric: str
    mode: str | None = None
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not 0 < len(self.metric) <= MAX_METRIC_NAME_LENGTH:
            raise ConfigurationError("improved: is followed by the name of a metric, as in improved:val_loss")
        mode = self.mode or metric_mode(self.metric)
        if mode is None:
            raise ConfigurationError(
                f"whether a smaller or a larger {self.metric!r} is better does not show in its name: write"
                f" improved:{quoted(self.metric)},min or {quoted(self.metric)},max"
            )
        if mode not in ("min", "max"):
            raise ConfigurationError(f"{mode!r} is neither min nor max")
        if not isinstance(self.delta, (int, float)) or not 0 <= self.delta < math.inf:
            raise ConfigurationError(f"delta is a number from 0, not {self.delta!r}")
        object.__setattr__(self, "mode", mode)
        object.__setattr__(self, "delta", float(self.delta))

    @property
    def text(self) -> str:
        """``improved:val_loss``, and whatever does not go without saying."""
        mode = "" if self.mode == metric_mode(self.metric) else f",{self.mode}"
        return f"improved:{quoted(self.metric)}{mode}{f',delta={number(self.delta)}' if self.delta else ''}"

    def decide(self, moment: Moment) -> Decision:
        """Say whether the last value is better than the best saved one."""
        value = moment.metrics.get(self.metric)
        best = (moment.lowest if self.mode == "min" else moment.highest).get(self.metric)
        if value is None or not math.isfinite(value):
            return Decision(False, f"improved: {self.metric!r} is {'not known' if value is None else value}")
        if best is None:
            return Decision(True, f"improved: {self.metric!r} is {value:.6g}, the first")
        if (best - value if self.mode == "min" else value - best) > self.delta:
            return Decision(True, f"improved: {self.metric!r} from {best:.6g} to {value:.6g}")
        return Decision(False, f"improved: {self.metric!r} is {value:.6g}, and {best:.6g} is saved")


def create(argument: str) -> Improved:
    """Return the rule. Raises ``ConfigurationError``."""
    values, named = split(argument, ("delta",))
    if len(values) > 2:
        raise ConfigurationError(f"{values[2]!r} is one too many: a metric, min or max, and delta=")
    try:
        delta = float(named.get("delta", 0))
    except ValueError:
        raise ConfigurationError(f"delta is a number, not {named['delta']!r}") from None
    return Improved(values[0] if values else "", values[1] if len(values) > 1 else None, delta)
