"""Listens to the kernels of a script, and runs the script as ``python`` would."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.cli import notices
from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.hooks import Context, HookEvent, HookPriority, HookStats, hook_handler, hookimpl

if TYPE_CHECKING:
    from model_checkpoint.kernel import Kernel

_TOLD = (
    "run_name",
    "checkpoint_id",
    "epoch",
    "step",
    "metric_name",
    "metric",
    "plugin",
    "hook",
    "name",
    "outcome",
    "reason",
)
_BETWEEN = (HookEvent.BEFORE_PLUGIN_EXECUTE, HookEvent.AFTER_PLUGIN_EXECUTE)


class Counts:
    """Remembers the kernels that a script opens, for what their hooks cost."""

    name = "mce-hooks-stats"

    def __init__(self) -> None:
        self._open: list[Kernel] = []
        self._lines: list[HookStats] = []

    @hookimpl
    def on_system_start(self, kernel: Kernel) -> None:
        """Remember a kernel."""
        self._open.append(kernel)

    @hookimpl(priority=HookPriority.LOW, trylast=True)
    def on_system_shutdown(self, kernel: Kernel) -> None:
        """Take what was counted, for a closed kernel has no hooks."""
        if kernel in self._open:
            self._open.remove(kernel)
            self._lines += kernel.hooks.stats()

    def lines(self) -> list[HookStats]:
        """Return what was counted of every hook but these, kernel after kernel."""
        still = [line for kernel in self._open for line in kernel.hooks.stats()]
        return [line for line in (*self._lines, *still) if line.plugin != self.name]


class Timeline:
    """Tells every event and every call of a hook as it happens.

    Args:
        tell: called with seconds since the start, the event, and what is told of it.
        only: names of the events to tell; all of them where it is empty.
    """

    name = "mce-hooks-trace"

    def __init__(self, tell: Callable[[float, str, dict[str, object]], None], only: Sequence[str] = ()) -> None:
        self._tell, self._only, self._watch = tell, frozenset(only), Stopwatch()

    @hook_handler([event for event in HookEvent if event not in _BETWEEN], priority=HookPriority.CRITICAL)
    def event(self, context: Context) -> None:
        """Tell an event, before anybody else hears it."""
        event = str(context.event)
        if not self._only or event in self._only:
            told = {name: context.get(name) for name in _TOLD if context.get(name) is not None}
            if (error := context.get("error")) is not None:
                told["error"] = f"{type(error).__name__}: {error}"
            self._tell(self._watch.elapsed_s, event, told)

    @hookimpl
    def after_plugin_execute(self, context: Context) -> None:
        """Tell the call of a hook, once it is over."""
        if context.plugin != self.name and (not self._only or context.hook in self._only):
            told = {"hook": f"{context.plugin}.{context.hook}", "outcome": context.outcome}
            self._tell(self._watch.elapsed_s, "call", {**told, "duration_s": context.duration_s})


def run_script(script: Path, arguments: Sequence[str]) -> int:
    """Run a script as ``__main__`` in this process; return its exit status. ``sys.exit`` passes through.

    An exception is printed as Python prints it, from the script's own frames on.
    """
    notices.end()  # what is logged from here on is the script's
    sys.argv = [str(script), *arguments]
    sys.path[0] = str(script.resolve().parent)
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != str(script):
            trace = trace.tb_next
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace  # as the interpreter does
        traceback.print_exception(type(error), error, trace or error.__traceback__)
        return 1
    return 0
