"""When a signal came: ``on-signal``, ``on-signal:SIGTERM,SIGUSR1,grace=90s``."""

from __future__ import annotations

from dataclasses import dataclass

from model_checkpoint.cadence.arguments import split
from model_checkpoint.cadence.composition import Rule
from model_checkpoint.cadence.quantities import checked_seconds, duration, seconds
from model_checkpoint.contracts import Decision, Moment
from model_checkpoint.errors import ConfigurationError

KNOWN = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU")
DEFAULT = KNOWN[:3]
GO_ON = frozenset({"SIGUSR1", "SIGUSR2"})
"""Signals after which the training goes on: they ask for a checkpoint and nothing else."""
GRACE_S = 30.0
"""What SLURM, Kubernetes and most clouds leave between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True, repr=False)
class OnSignal(Rule):
    """Saves at the first step after one of `signals` came; after any but SIGUSR1 and SIGUSR2 the training is to stop.

    `grace_s` is what remains from such a signal until the process is killed.
    """

    signals: tuple[str, ...] = DEFAULT
    grace_s: float = GRACE_S

    def __post_init__(self) -> None:
        named = {
            name if name.startswith("SIG") else f"SIG{name}" for name in (str(each).upper() for each in self.signals)
        }
        if unknown := sorted(named - set(KNOWN)):
            raise ConfigurationError(f"{unknown[0]!r} is no signal that is saved on; these are: {', '.join(KNOWN)}")
        if not named:
            raise ConfigurationError(f"on-signal: without a signal means nothing; there are {', '.join(KNOWN)}")
        object.__setattr__(self, "signals", tuple(name for name in KNOWN if name in named))
        object.__setattr__(self, "grace_s", checked_seconds(self.grace_s, "grace"))

    @property
    def text(self) -> str:
        """``on-signal``, and whatever does not go without saying."""
        parts = [*self.signals] if self.signals != DEFAULT else []
        parts += [f"grace={duration(self.grace_s)}"] if self.grace_s != GRACE_S else []
        return f"on-signal:{','.join(parts)}" if parts else "on-signal"

    def decide(self, moment: Moment) -> Decision:
        """Say whether one of the signals came since the last save."""
        if moment.signal in self.signals:
            left = "" if moment.left_s is None else f", {moment.left_s:.0f} s left"
            return Decision(True, f"on-signal: {moment.signal}{left}", urgent=True)
        return Decision(False, "on-signal: none came")


def create(argument: str) -> OnSignal:
    """Return the rule. Raises ``ConfigurationError``."""
    values, named = split(argument, ("grace",))
    grace_s = seconds(named["grace"], "grace") if "grace" in named else GRACE_S
    return OnSignal(tuple(values) or DEFAULT, grace_s)
