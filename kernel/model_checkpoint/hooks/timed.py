"""Calls a hook with a time limit: on a thread, with a copy of the context that is merged only if it is in time.

A thread that is late cannot be stopped; it is abandoned and ends when its hook does. No signals are used, so that this
works on any thread.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from model_checkpoint.errors import HookTimeoutError
from model_checkpoint.hooks.contexts import Context, detached, merge


class _Job:
    def __init__(self, call: Callable[[Context], object], context: Context) -> None:
        self.call, self.context = call, context
        self.variables = contextvars.copy_context()
        self.done = threading.Event()
        self.lock = threading.Lock()
        self.abandoned = False
        self.result: object = None
        self.error: BaseException | None = None

    def run(self) -> bool:
        """Do it, and return whether somebody still waited for it."""
        try:
            self.result = self.variables.run(self.call, self.context)
        except BaseException as error:  # raised again by who waits
            self.error = error
        with self.lock:
            if not self.abandoned:
                self.done.set()
            return not self.abandoned


class TimedCalls:
    """Threads that wait for calls with a time limit. One is started only when all others are busy."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[_Job | None]] = []
        self._pid = os.getpid()

    def run(self, call: Callable[[Context], object], context: Context, timeout_s: float) -> object:
        """Return ``call(context)``. Raises ``HookTimeoutError`` after `timeout_s` seconds, with nothing changed."""
        job = _Job(call, detached(context))
        inbox = self._worker()
        inbox.put(job)
        if not job.done.wait(timeout_s):
            with job.lock:
                job.abandoned = not job.done.is_set()
            if job.abandoned:
                raise HookTimeoutError(timeout_s)
        self._idle.append(inbox)
        if job.error is not None:
            raise job.error
        merge(context, job.context)
        return job.result

    def close(self) -> None:
        """Let the waiting threads end."""
        while self._idle:
            self._idle.pop().put(None)

    def _worker(self) -> SimpleQueue[Any]:
        if self._pid != os.getpid():  # a forked child has none of the threads
            self._idle, self._pid = [], os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            inbox: SimpleQueue[_Job | None] = SimpleQueue()
            threading.Thread(target=_serve, args=(inbox,), name="model-checkpoint-hook", daemon=True).start()
            return inbox


def _serve(inbox: SimpleQueue[_Job | None]) -> None:
    while (job := inbox.get()) is not None:
        if not job.run():
            return
