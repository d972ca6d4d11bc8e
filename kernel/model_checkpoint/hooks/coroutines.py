"""Runs the coroutines of ``async def`` hooks.

On the caller's own loop under ``afire``; else, where a hook was registered on a running loop, on that one, to which its
clients and locks belong, unless it stands still; else on a loop of the kernel's.

pluggy calls every hook and knows nothing of coroutines, so under ``afire`` that whole call happens on a worker thread,
while the caller's loop stays free to run the coroutines it is handed, one after another and in the right order::

    await hooks.afire(...)          worker thread             caller's loop
        to_thread -------------->  pluggy calls hook 1
                                   pluggy calls hook 2  --->   coroutine of hook 2 runs
                                   pluggy calls hook 3  <---
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from model_checkpoint.errors import HookTimeoutError

T = TypeVar("T")
_callers_loop: contextvars.ContextVar[asyncio.AbstractEventLoop | None] = contextvars.ContextVar(
    "model_checkpoint_callers_loop", default=None
)
Outcome = tuple[object, BaseException | None]
STUCK_AFTER_S = 0.1
_ending: set[asyncio.Task[None]] = set()  # a loop keeps only weak references


class Coroutines:
    """The kernel's own event loop, on a thread that is started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._scheduled: set[asyncio.Task[Outcome]] = set()

    def run(
        self,
        make: Callable[[], Coroutine[Any, Any, object]],
        timeout_s: float | None,
        on_late_error: Callable[[BaseException], object],
        home: asyncio.AbstractEventLoop | None = None,
    ) -> object:
        """Return what the coroutine returns; `home` is the loop on which its hook was registered.

        On the kernel's own loop thread nothing can be waited for: there it is scheduled, None is returned, and an error
        goes to `on_late_error`. Raises what the coroutine raises, and ``HookTimeoutError``.
        """
        here = _running_loop()
        loop = _callers_loop.get()
        if loop is None and home is not None and home is not here and _moves(home):
            loop = home
        if loop is None or loop.is_closed() or loop is here:
            loop = self._own_loop()
        if loop is here:
            self._schedule(loop, _caught(make()), on_late_error)
            return None
        future = asyncio.run_coroutine_threadsafe(_caught(make()), loop)
        try:
            result, error = future.result(timeout_s)
            if error is not None:
                raise error
            return result
        except concurrent.futures.TimeoutError:
            if future.done() and not future.cancelled():  # a TimeoutError of the hook's own
                raise
            future.cancel()
            self._replace_if_stuck(loop)
            raise HookTimeoutError(timeout_s or 0.0) from None
        except BaseException:  # Ctrl-C while waiting
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop; what still runs on it is cancelled."""
        loop, self._loop = self._loop, None
        if loop is not None and self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # closed already
                loop.call_soon_threadsafe(_cancel_all, loop)

    def _schedule(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Outcome],
        on_late_error: Callable[[BaseException], object],
    ) -> None:
        task = loop.create_task(work)
        self._scheduled.add(task)  # a loop keeps only weak references

        def finished(done: asyncio.Task[Outcome]) -> None:
            self._scheduled.discard(done)
            if not done.cancelled() and (error := done.result()[1]) is not None:
                on_late_error(error)

        task.add_done_callback(finished)

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._loop.is_closed() or self._pid != os.getpid():
                self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loop,), name="model-checkpoint-loop", daemon=True).start()
            return self._loop

    def _replace_if_stuck(self, loop: asyncio.AbstractEventLoop) -> None:
        """A hook that blocks the loop instead of awaiting would make every later one late too."""
        if not _moves(loop):
            with self._lock:
                if self._loop is loop:
                    self._loop = None
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(loop.stop)


async def _caught(work: Coroutine[Any, Any, object]) -> Outcome:
    """Return result and error: an exception such as SystemExit, raised in a task, would end the loop itself."""
    try:
        return await work, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


async def on_callers_loop(call: Callable[[], T]) -> T:
    """Return ``call()``, made on a worker thread whose async hooks run on the loop of whoever awaits this."""
    token = _callers_loop.set(asyncio.get_running_loop())
    try:
        return await asyncio.to_thread(call)
    finally:
        _callers_loop.reset(token)


def _moves(loop: asyncio.AbstractEventLoop) -> bool:
    """Say whether a loop runs and is not held up: nothing may wait for one whose thread waits for us."""
    alive = threading.Event()
    with contextlib.suppress(RuntimeError):  # closed
        loop.call_soon_threadsafe(alive.set)
        return loop.is_running() and alive.wait(STUCK_AFTER_S)
    return False


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    for task in tasks:
        task.cancel()
    _ending.add(loop.create_task(_stop_after(tasks)))


async def _stop_after(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
    _ending.clear()
    asyncio.get_running_loop().stop()
