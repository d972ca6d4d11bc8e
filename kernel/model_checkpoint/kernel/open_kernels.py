"""The kernels that are open in this process, and their orderly end."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from typing import TYPE_CHECKING

from model_checkpoint.contracts import RunStatus
from model_checkpoint.errors import AmbiguousKernelError, NoKernelError

if TYPE_CHECKING:
    from model_checkpoint.hooks import HookManager
    from model_checkpoint.kernel.kernel import Kernel

everywhere: list[object] = []
"""Objects that every kernel registers early, see `Kernel.register_everywhere`."""
_open: list[Kernel] = []
_log = logging.getLogger("model_checkpoint")


def add(kernel: Kernel) -> None:
    """Remember an open kernel; the first one arranges that all are closed when the process ends."""
    if not _open:
        atexit.unregister(close_all)
        atexit.register(close_all)
    _open.append(kernel)


def remove(kernel: Kernel) -> None:
    """Forget a closed kernel."""
    if kernel in _open:
        _open.remove(kernel)


def listed() -> list[Kernel]:
    """Return the open kernels of this process, the oldest first."""
    return [kernel for kernel in _open if kernel.pid == os.getpid()]


def current() -> Kernel:
    """Return the one open kernel. Raises ``NoKernelError`` or ``AmbiguousKernelError``."""
    kernels = listed()
    if len(kernels) == 1:
        return kernels[0]
    if not kernels:
        raise NoKernelError("no kernel is open: call Kernel.open(...), or make an EnhancedCheckpointManager first")
    places = ", ".join(kernel.config.database.shown for kernel in kernels)
    raise AmbiguousKernelError(f"{len(kernels)} kernels are open ({places}): say which one is meant with kernel=...")


def close_all() -> None:
    """Close what is still open when the process ends; a script that died of an exception did not finish its run."""
    status, reason = outcome(getattr(sys, "last_value", None))
    for kernel in reversed(listed()):
        try:
            kernel.close(status=status, reason=reason)
        except Exception as error:  # the others are closed all the same
            _log.warning("a kernel could not be closed in order: %s: %s", type(error).__name__, error)


def print_failed_hooks(hooks: HookManager) -> None:
    """Say on the standard error which hooks failed, and how often."""
    for line in hooks.stats():
        if line.errors:
            print(f"hook {line.plugin}.{line.hook} failed {line.errors} of {line.calls} times", file=sys.stderr)


def outcome(error: BaseException | None) -> tuple[RunStatus, str]:
    """Return how a run ended that was left with `error`, and why in words."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return RunStatus.FINISHED, ""
    if isinstance(error, KeyboardInterrupt):
        return RunStatus.PREEMPTED, "interrupted from the keyboard"
    return RunStatus.FAILED, f"{type(error).__name__}: {error}"[:500]
