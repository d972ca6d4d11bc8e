"""One operation at a time, and no waiting for oneself.

An async hook of a save, or one with a time limit, runs on another thread while the save waits for it. If it saves too,
it would wait for the lock that its own save holds, and neither would ever end. The context tells: it is handed on to
such threads.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from types import TracebackType

from model_checkpoint.errors import KernelError

_LOOK_S = 0.1


class _Turn:
    """One time that the lock is held."""

    held = True


class Exclusive:
    """A lock that a thread may take again. Raises ``KernelError`` where waiting for it would never end.

    `barred` says that the calling thread may not have it: the one that finishes non-blocking saves, for which holders
    of the lock wait. `waits_for_us` says that a thread, the one that holds the lock, waits for the caller.
    """

    def __init__(
        self, barred: Callable[[], bool] = lambda: False, waits_for_us: Callable[[int], bool] = lambda thread: False
    ) -> None:
        self._barred, self._waits_for_us = barred, waits_for_us
        self._holder = 0
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._turn: contextvars.ContextVar[_Turn | None] = contextvars.ContextVar("model_checkpoint_turn", default=None)
        self._taken: list[tuple[_Turn, contextvars.Token[_Turn | None]]] = []

    def __enter__(self) -> None:
        if self._barred():
            raise KernelError(
                "a hook of a non-blocking save cannot save, or begin or end a run: it runs on the thread that finishes"
                " such saves. Save with wait=True, or leave it to the training's own thread"
            )
        if self._pid != os.getpid():  # forked, perhaps while another thread held it, which is not here
            self._lock, self._taken, self._pid = threading.RLock(), [], os.getpid()
        if not self._lock.acquire(blocking=False):
            turn = self._turn.get()
            if turn is not None and turn.held:
                raise KernelError(
                    "a hook that runs on a thread of its own (async, or with a time limit) cannot save or end a run"
                    " while the operation that called it waits for it: use a plain hook, or priority=BACKGROUND"
                )
            while not self._lock.acquire(timeout=_LOOK_S):
                if self._waits_for_us(self._holder):
                    raise KernelError(
                        "a plugin that comes up or goes cannot save, or begin or end a run, while another thread's save"
                        " waits for it: do it later, in a hook"
                    )
        self._holder = threading.get_ident()
        turn = _Turn()
        self._taken.append((turn, self._turn.set(turn)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        turn, token = self._taken.pop()
        turn.held = False
        self._turn.reset(token)
        self._lock.release()
