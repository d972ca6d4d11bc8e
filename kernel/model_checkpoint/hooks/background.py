"""Hooks of priority BACKGROUND: called one after another on a thread, from a queue of bounded length."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from model_checkpoint.hooks.contexts import Context

if TYPE_CHECKING:
    from model_checkpoint.hooks.record import HookRecord

CAPACITY = 1000
Call = Callable[[Context], object]


class BackgroundQueue:
    """Calls that wait for their turn. When it is full the oldest is dropped and counted as skipped by its hook."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._waiting: deque[tuple[HookRecord, Call, Context]] = deque()
        self._capacity = capacity
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = self._closing = False
        self.dropped = 0

    def submit(self, record: HookRecord, call: Call, context: Context) -> None:
        """Let ``call(context)`` happen soon. Never blocks, never raises."""
        if self._pid != os.getpid():  # a forked child has neither the thread nor the right to its parent's calls
            self._waiting.clear()
            self._reset()
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()[0].tally.skipped += 1
                self.dropped += 1
            self._waiting.append((record, call, context))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="model-checkpoint-background", daemon=True)
                with contextlib.suppress(RuntimeError):  # no thread can start while the interpreter shuts down
                    self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all calls so far are done, at most `timeout_s` seconds; return whether they are."""
        if self._pid != os.getpid() or self._thread is None or threading.current_thread() is self._thread:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self, timeout_s: float | None = None) -> bool:
        """Flush, and let the thread end. Returns whether everything was done."""
        done = self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        return done

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    self._thread, self._closing = None, False
                    return
                _, call, context = self._waiting.popleft()
                self._busy = True
            call(context)
            del call, context  # an idle worker keeps nothing alive
