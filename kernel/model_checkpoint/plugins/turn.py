"""Whose turn it is to activate plugins, and how long one may take.

Activations happen one at a time. A plugin that others wrote is imported and started on a thread of its own, so that
one that hangs costs its time limit and no more. That thread has its part in the turn of the one that waits for it, by
the context that is handed on: it may fire events and look things up, which may activate further plugins.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from model_checkpoint.errors import PluginLoadError

T = TypeVar("T")


class _Part:
    """A part in a turn."""

    holds = True


class Turn:
    """A lock that is taken again by whoever has a part in it, on whatever thread."""

    def __init__(self) -> None:
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._waiting: set[int] = set()
        self._part: contextvars.ContextVar[_Part | None] = contextvars.ContextVar("part", default=None)

    @property
    def is_mine(self) -> bool:
        """Whether the caller has the turn, or works for the one who has it."""
        part = self._part.get()
        return part is not None and part.holds

    def waits(self, thread: int) -> bool:
        """Say whether a thread waits for the turn."""
        return thread in self._waiting

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, unless the caller has a part in it."""
        if self.is_mine:
            yield
            return
        if self._pid != os.getpid():  # forked, perhaps while another thread had the turn
            self._lock, self._pid = threading.Lock(), os.getpid()
        lock, here = self._lock, threading.get_ident()
        self._waiting.add(here)
        try:
            lock.acquire()
        finally:
            self._waiting.discard(here)
        try:
            part = _Part()
            token = self._part.set(part)
            try:
                yield
            finally:
                part.holds = False
                self._part.reset(token)
        finally:
            lock.release()

    def within(self, limit_s: float, what: str, call: Callable[[], T], abandon: Callable[[], object]) -> T:
        """Return what `call` returns on another thread.

        Raises ``PluginLoadError`` once `limit_s` seconds have passed; the thread is left to itself, and `abandon` is
        called when `call` ends after all.
        """
        context, part, ending = contextvars.copy_context(), _Part(), threading.Lock()
        context.run(self._part.set, part)
        done, late = threading.Event(), threading.Event()
        outcome: list[T] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(context.run(call))
            except BaseException as error:
                failure.append(error)
            with ending:
                done.set()
                in_time = not late.is_set()
            if not in_time:
                abandon()

        try:
            threading.Thread(target=work, name=f"mce-plugin-{what}", daemon=True).start()
        except RuntimeError:  # no thread can start while the interpreter shuts down: then without a limit
            work()
        try:
            done.wait(limit_s)
        finally:  # Ctrl-C while it hangs too
            with ending:
                if not done.is_set():
                    late.set()
                part.holds = False  # nor has anything that copied the context a part from here on
        if late.is_set():
            raise PluginLoadError(
                f"it was not done within {limit_s:g} s and is left out: raise plugin_timeout_s, or look at what it does"
                f" when it is imported, configured, started and ended"
            )
        if failure:
            raise failure[0]
        return outcome[0]
