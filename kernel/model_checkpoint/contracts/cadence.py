"""The contract of a save decision: a small value that says whether to save now, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known when it is asked whether to save."""

    step: int | None = None
    """Steps done so far."""
    epoch: int | None = None
    """The epoch, counted from 0, that ended with this step; None within one."""
    since_start_s: float = 0.0
    """Since the training began in this process."""
    since_save_s: float = 0.0
    """Since the last save; before the first, since the start."""
    saved_step: int = 0
    """The step of the last save; before the first, that from which the training goes on."""
    saved_epoch: int = -1
    """The last epoch at whose end there was a save, or before the first that from which the training goes on."""
    save_count: int = 0
    """Saves of this process."""
    resumed: bool = False
    """Whether the training goes on from a checkpoint."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of every metric."""
    lowest: Mapping[str, float] = field(default_factory=dict)
    """The lowest finite value of every metric in the saves so far."""
    highest: Mapping[str, float] = field(default_factory=dict)
    """The highest."""
    stalls_s: tuple[float, ...] = ()
    """For how long each of the last saves held up the training, the newest last."""
    writes_s: tuple[float, ...] = ()
    """How long it took until each of the last saves was durable, the newest last."""
    stalled_s: float = 0.0
    """For how long all saves of this process together held up the training."""
    left_s: float | None = None
    """Until the process is ended: by the job's time limit, or after a signal. None where nobody said."""
    signal: str = ""
    """The name of a signal, such as ``SIGTERM``, that came since the last save."""
    error: str = ""
    """What ends the training, where an exception does."""
    last: bool = False
    """Whether the training says that this is its last step."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to save, and why. True where it says so."""

    save: bool
    reason: str
    """One line."""
    urgent: bool = False
    """Whether there may be no next time: wait until it is durable."""

    def __bool__(self) -> bool:
        return self.save


class SaveDecision(Protocol):
    """Decides from a moment alone.

    1.  Its descriptor's name is a lower-case word, with dashes perhaps, and its summary one line.
    2.  ``create`` refuses an argument that it cannot use with ``ConfigurationError``, and nothing else.
    3.  Every moment has an answer: where nothing is known, at odd times, with NaN among the metrics, after a step back.
        Its reason is one line, where it is no too.
    4.  The same moment has the same answer, whatever was asked in between.
    5.  It is a value: made of the same argument twice it is equal, with the same hash, and it cannot be changed.
    6.  Its text, ``str(decision)``, is ``name:argument`` or the name alone, and ``create`` makes it of that again.
    7.  It is copied and pickled as the value that it is.
    8.  There are moments at which it saves, and moments at which it does not.
    """

    def decide(self, moment: Moment) -> Decision:
        """Say whether to save at this moment."""


class SaveCadence(Protocol):
    """A decision at work in one training. Safe to call from several threads; asked by the training's own."""

    @property
    def should_stop(self) -> bool:
        """Whether the training is to end here: a signal told it to, and there was a save since."""

    def should_save(
        self,
        *,
        step: int | None = None,
        epoch: int | None = None,
        metrics: Mapping[str, object] | None = None,
        last: bool = False,
        error: BaseException | None = None,
    ) -> Decision:
        """Say whether to save now. The answer yes counts as a save; of one step there is no second."""

    def note(self, metrics: Mapping[str, object]) -> None:
        """Take values of metrics over for the next question."""

    def saved(
        self,
        *,
        step: int | None = None,
        epoch: int | None = None,
        stall_s: float | None = None,
        write_s: float | None = None,
    ) -> None:
        """Take over what a save has cost, and that there was one that nobody had asked about."""

    def resumed(
        self, *, step: int | None = None, epoch: int | None = None, saved: Iterable[Mapping[str, float]] = ()
    ) -> None:
        """Say from where the training goes on; `saved` are the metrics of the run's checkpoints."""

    def close(self) -> None:
        """Give back what was taken: handlers of signals, hooks."""


class CanBegin(Protocol):
    """What a decision can do that brings its cadence with it."""

    def begin(self, kernel: object = None) -> SaveCadence:
        """Begin to be asked in a training; `kernel` tells what saves cost. Raises ``KernelError``."""


@dataclass(frozen=True, slots=True)
class SaveDecisionDescriptor:
    """What ``register_save_decisions`` returns for each kind."""

    name: str
    """What it is asked for by, before the colon: ``every`` in ``every:500steps``."""
    create: Callable[[str], SaveDecision]
    """Makes one of what follows the colon, which is empty where there is none. Raises ``ConfigurationError``."""
    summary: str = ""
