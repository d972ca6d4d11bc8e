"""What follows when a hook fails: it is counted, logged, told, and after too many failures in a row switched off."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from model_checkpoint.errors import HookTimeoutError
from model_checkpoint.hooks.events import HookEvent

if TYPE_CHECKING:
    from model_checkpoint.hooks.record import HookRecord

FAILURES_IN_A_ROW = 5
TIMEOUTS_IN_A_ROW = 2
_telling: contextvars.ContextVar[bool] = contextvars.ContextVar("model_checkpoint_telling", default=False)


class Failures:
    """The policy of one hook manager.

    Args:
        fire: fires an event.
        switch_off: takes a hook out of use.
        strict: raise every error, as if all hooks said ``on_error="abort"``.
    """

    def __init__(
        self, fire: Callable[..., Any], switch_off: Callable[[HookRecord], None], *, strict: bool = False
    ) -> None:
        self._fire, self._switch_off, self.strict = fire, switch_off, strict

    def handle(self, record: HookRecord, error: BaseException) -> None:
        """Take note of a failure. Raises `error` again where the hook, or the manager, does not isolate it."""
        tally, timed_out = record.tally, isinstance(error, HookTimeoutError)
        tally.errors += 1
        tally.consecutive += 1
        tally.timeouts += timed_out
        tally.consecutive_timeouts = tally.consecutive_timeouts + 1 if timed_out else 0
        abort = self.strict or record.options.on_error == "abort"
        quarantined = not abort and (
            tally.consecutive >= FAILURES_IN_A_ROW or tally.consecutive_timeouts >= TIMEOUTS_IN_A_ROW
        )
        if quarantined:
            record.quarantined = True
            self._switch_off(record)
        self._log(record, error, quarantined=quarantined, abort=abort)
        self._tell(record, error, timed_out=timed_out, quarantined=quarantined)
        if abort:
            error.add_note(f"raised by the hook {record.name} of {record.plugin!r} on {record.hook}")
            raise error

    def _log(self, record: HookRecord, error: BaseException, *, quarantined: bool, abort: bool) -> None:
        follows = "; the operation ends with it" if abort else "; the operation goes on"
        if quarantined:
            follows = (
                f"; it failed {record.tally.consecutive} times in a row and is switched off:"
                f" kernel.hooks.enable({record.plugin!r}) switches it on again"
            )
        from logging import getLogger  # not before something fails

        last = record.tally.durations_ns[-1:] or [0]
        getLogger("model_checkpoint").warning(
            "hook %s of %r failed on %s after %.3f s: %s: %s%s",
            record.name, record.plugin, record.hook, last[0] / 1e9, type(error).__name__, error, follows,
            exc_info=error if record.tally.errors == 1 and not abort else None,
        )  # fmt: skip

    def _tell(self, record: HookRecord, error: BaseException, *, timed_out: bool, quarantined: bool) -> None:
        if record.hook == HookEvent.ON_PLUGIN_ERROR or _telling.get():
            return
        token = _telling.set(True)
        try:
            self._fire(
                HookEvent.ON_PLUGIN_ERROR,
                plugin=record.plugin,
                hook=record.hook,
                error=error,
                timed_out=timed_out,
                consecutive=record.tally.consecutive,
                quarantined=quarantined,
            )
        finally:
            _telling.reset(token)
