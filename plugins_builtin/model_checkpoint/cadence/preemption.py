"""What a signal sets going: what is staged becomes durable, and the training is told at its next step."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from model_checkpoint.cadence.on_signal import GO_ON, GRACE_S
from model_checkpoint.cadence.signals import SignalWatch

if TYPE_CHECKING:
    from model_checkpoint.cadence.training import Cadence

_POLL_S = 0.02
_log = logging.getLogger("model_checkpoint")


class PreemptionSaver:
    """Watches signals for a cadence.

    The training is told first, which takes no time, and then the thread waits, up to the deadline, until the newest
    snapshot that is staged is durable. The order on disk is that of the saves whatever the training does meanwhile: a
    save that it begins waits for those before it.
    """

    def __init__(
        self,
        cadence: Cadence,
        names: Iterable[str],
        *,
        kernel: object = None,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cadence, self._kernel, self._clock, self._grace_s = cadence, cast("Any", kernel), clock, grace_s
        self._watch = SignalWatch(names, self._on_signal, grace_s=grace_s, clock=clock)
        cadence.answered = self._rearm

    def close(self) -> None:
        """Watch no longer; see `SignalWatch.close`."""
        self._watch.close()

    def _rearm(self, name: str) -> None:
        """Take a signal after which the training goes on as a first one again, now that it was answered."""
        if name in GO_ON:
            self._watch.rearm(signal.Signals[name])

    def _on_signal(self, signum: int, deadline_s: float) -> None:
        name = signal.Signals(signum).name
        stop = name not in GO_ON
        self._cadence.signalled(name, stop=stop, grace_s=self._grace_s if stop else None)
        staged = self._kernel.pending_saves if self._kernel is not None else ()
        then = "the training is to save and end" if stop else "the training is to save"
        then += f" at its next step ({name} once more before that means what it always did)"
        _log.warning("%s: %s%s", name, then, f"; {staged[-1]} is being written" if staged else "")
        if staged:
            self._flush(staged[-1], deadline_s)

    def _flush(self, newest: str, deadline_s: float) -> None:
        """Wait until the newest staged save is durable. What it fails with stays for the training's next call."""
        while newest in self._kernel.pending_saves:
            if self._clock() >= deadline_s:
                _log.error("checkpoint %s is not durable yet, and the time after the signal is over", newest)
                return
            time.sleep(_POLL_S)
        _log.warning("checkpoint %s is written, %.1f s before the deadline", newest, deadline_s - self._clock())
