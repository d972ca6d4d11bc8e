"""A decision at work in one training: makes the moments, remembers the last save and what saves have cost.

>>> from model_checkpoint.cadence import Cadence, parse
>>> cadence = Cadence(parse("every:500steps | last"))
>>> [step for step in range(1, 1200) if cadence.should_save(step=step, last=step == 1199)]
[500, 1000, 1199]
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from model_checkpoint.cadence.composition import as_rule
from model_checkpoint.common.numbers import as_metric_value, checked_step
from model_checkpoint.contracts import Decision, Moment, SaveDecision
from model_checkpoint.errors import ConfigurationError

REMEMBERED = 8
"""Of so many saves the costs are known to the rules."""


class Cadence:
    """Asks `decision` for a training. `clock` gives seconds and never goes back.

    A yes counts as a save: ask only where you then save. The same step gets no second yes. Safe to call from several
    threads.
    """

    def __init__(
        self, decision: SaveDecision, clock: Callable[[], float] = time.monotonic, *, limit_s: float | None = None
    ) -> None:
        if not callable(getattr(decision, "decide", None)):
            raise ConfigurationError(f"{decision!r} is no save decision: parse('every:500steps | last') gives one")
        self.decision, self.clock = decision, clock
        self._lock = threading.RLock()
        self._ends = contextlib.ExitStack()
        self._started_s = self._saved_s = clock()
        self._limit_at_s = math.inf if limit_s is None else self._started_s + limit_s
        self._killed_at_s = math.inf
        self._saved_step, self._saved_epoch, self._save_count, self._resumed = 0, -1, 0, False
        self._step: int | None = None
        self._at: tuple[int | None, int | None] | None = None
        self._metrics: dict[str, float] = {}
        self._lowest: dict[str, float] = {}
        self._highest: dict[str, float] = {}
        self._stalls_s: deque[float] = deque(maxlen=REMEMBERED)
        self._writes_s: deque[float] = deque(maxlen=REMEMBERED)
        self._stalled_s = 0.0
        self._signal = ""
        self._told_to_stop = False
        self.answered: Callable[[str], object] | None = None
        """Called with the name of a signal once there is a save after it."""

    @classmethod
    def begin(
        cls, decision: SaveDecision, kernel: object = None, clock: Callable[[], float] = time.monotonic
    ) -> Cadence:
        """Return a cadence with everything that its rules need; `close` gives it back.

        Watches the signals of ``on-signal``, finds the end of the job for ``before-limit``, and hears from `kernel` how
        long its writes take. Raises ``KernelError`` where signals are to be watched and this is not the main thread.
        """
        from model_checkpoint.cadence.before_limit import BeforeLimit
        from model_checkpoint.cadence.on_signal import OnSignal

        rules = [*as_rule(decision).leaves()]
        limit_s: float | None = None
        if any(isinstance(rule, BeforeLimit) and rule.limit_s is None for rule in rules):
            from model_checkpoint.cadence.slurm import remaining_s

            limit_s = remaining_s()
            if limit_s is None:
                warnings.warn(
                    "before-limit: SLURM knows no end of this job, so nothing is saved before it; write the time that"
                    " the training has, as in before-limit:5m,limit=4h",
                    stacklevel=3,
                )
        cadence = cls(decision, clock, limit_s=limit_s)
        watched = [rule for rule in rules if isinstance(rule, OnSignal)]
        if watched:
            from model_checkpoint.cadence.preemption import PreemptionSaver

            names = dict.fromkeys(name for rule in watched for name in rule.signals)
            grace_s = min(rule.grace_s for rule in watched)
            saver = PreemptionSaver(cadence, names, kernel=kernel, grace_s=grace_s, clock=clock)
            cadence._ends.callback(saver.close)
        if kernel is not None:
            from model_checkpoint.cadence.costs import measure_writes

            cadence._ends.callback(measure_writes(cadence, kernel))
        return cadence

    @property
    def should_stop(self) -> bool:
        """Whether the training is to end here: a signal told it to, and `should_save` has said yes since."""
        return self._told_to_stop and not self._signal

    def should_save(
        self,
        *,
        step: int | None = None,
        epoch: int | None = None,
        metrics: Mapping[str, object] | None = None,
        last: bool = False,
        error: BaseException | None = None,
    ) -> Decision:
        """Say whether to save now; the answer is true where it is yes.

        Args:
            step: the steps done so far; without it those of the last question.
            epoch: the epoch, counted from 0, that ended with this step; None within one.
            metrics: values that are new. Those that `note` was given, or an earlier question, are still known.
            last: whether the training ends with this step.
            error: the exception with which it ends.

        Raises ``MetricError`` for what is no step or metric.
        """
        step, epoch = checked_step(step, "step"), checked_step(epoch, "epoch")
        self.note(metrics or {})
        with self._lock:
            self._step = step if step is not None else self._step
            if self._step is not None and self._step < self._saved_step:  # the training went back
                self._saved_step = max(self._step - 1, 0)
            moment = self._moment(epoch, last, error)
            if self._is_saved(epoch):
                return Decision(False, f"step {self._step} is saved" if self._step is not None else "it is saved")
            decision = self.decision.decide(moment)
            if decision.save:
                self._count_save(epoch)
            return decision

    def note(self, metrics: Mapping[str, object]) -> None:
        """Take values of metrics over for the next question. Raises ``MetricError``."""
        values = {name: _as_float(as_metric_value(name, value)) for name, value in metrics.items()}
        if values:
            with self._lock:
                self._metrics = {**self._metrics, **values}  # a moment that was given out stays as it was

    def saved(
        self,
        *,
        step: int | None = None,
        epoch: int | None = None,
        stall_s: float | None = None,
        write_s: float | None = None,
    ) -> None:
        """Take over that there was a save, and what it has cost.

        `stall_s` is how long it held up the training, `write_s` how long it took until it was durable; either may come
        later. With `step` or `epoch`, a save that nobody had asked about counts like the others.
        """
        step, epoch = checked_step(step, "step"), checked_step(epoch, "epoch")
        with self._lock:
            if step is not None or epoch is not None:
                self._step = step if step is not None else self._step
                if not self._is_saved(epoch):
                    self._count_save(epoch)
            if stall_s is not None:
                self._stalls_s.append(max(0.0, stall_s))
                self._stalled_s += max(0.0, stall_s)
                self._saved_s = self.clock()
            if write_s is not None:
                self._writes_s.append(max(0.0, write_s))

    def resumed(
        self, *, step: int | None = None, epoch: int | None = None, saved: Iterable[Mapping[str, float]] = ()
    ) -> None:
        """Say from where the training goes on; `saved` are the metrics of the run's checkpoints."""
        step, epoch = checked_step(step, "step"), checked_step(epoch, "epoch")
        with self._lock:
            self._resumed = True
            self._step, self._saved_step = step, step or 0
            self._saved_epoch = -1 if epoch is None else epoch
            self._at = None if step is None else (step, None)
            for metrics in saved:
                self._fold(metrics)

    def signalled(self, name: str, *, stop: bool, grace_s: float | None = None) -> None:
        """Take over that a signal came; with `stop` the training is to end, and is killed in `grace_s` seconds."""
        with self._lock:
            self._signal = name
            self._told_to_stop = self._told_to_stop or stop
            if grace_s is not None:
                self._killed_at_s = min(self._killed_at_s, self.clock() + grace_s)

    def close(self) -> None:
        """Give back the handlers of signals and the hooks. Closing twice does nothing."""
        self._ends.close()

    def __enter__(self) -> Cadence:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_saved(self, epoch: int | None) -> bool:
        """Say whether this step, or without steps this epoch, is saved; the end of an epoch at such a step counts."""
        if self._at is None:
            return False
        if self._step is not None:
            saved = self._at[0] == self._step
            if saved and epoch is not None:
                self._saved_epoch = epoch
        else:
            saved = epoch is not None and self._at == (None, epoch)
        if saved:
            self._answer()
        return saved

    def _count_save(self, epoch: int | None) -> None:
        self._at = (self._step, epoch)
        self._saved_step = self._saved_step if self._step is None else self._step
        self._saved_epoch = self._saved_epoch if epoch is None else epoch
        self._saved_s = self.clock()
        self._save_count += 1
        self._answer()
        self._fold(self._metrics)

    def _answer(self) -> None:
        name, self._signal = self._signal, ""
        if name and self.answered is not None:
            self.answered(name)

    def _fold(self, metrics: Mapping[str, float]) -> None:
        finite = {name: number for name, value in metrics.items() if math.isfinite(number := _as_float(value))}
        lowest, highest = self._lowest, self._highest
        self._lowest = {**lowest, **{name: min(value, lowest.get(name, value)) for name, value in finite.items()}}
        self._highest = {**highest, **{name: max(value, highest.get(name, value)) for name, value in finite.items()}}

    def _moment(self, epoch: int | None, last: bool, error: BaseException | None) -> Moment:
        now_s = self.clock()
        left_s = min(self._limit_at_s, self._killed_at_s) - now_s
        return Moment(
            step=self._step,
            epoch=epoch,
            since_start_s=max(0.0, now_s - self._started_s),
            since_save_s=max(0.0, now_s - self._saved_s),
            saved_step=self._saved_step,
            saved_epoch=self._saved_epoch,
            save_count=self._save_count,
            resumed=self._resumed,
            metrics=self._metrics,
            lowest=self._lowest,
            highest=self._highest,
            stalls_s=tuple(self._stalls_s),
            writes_s=tuple(self._writes_s),
            stalled_s=self._stalled_s,
            left_s=left_s if left_s < math.inf else None,
            signal=self._signal,
            error=f"{type(error).__name__}: {error}"[:500] if error is not None else "",
            last=last,
        )


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int beyond every float
        return math.inf if value > 0 else -math.inf
