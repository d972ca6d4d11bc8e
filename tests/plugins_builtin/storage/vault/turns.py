"""Threads that take turns at their file-system calls, in an order that a test decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from model_checkpoint.testing.faulty_fs import FaultyFs

LONGEST_S = 30.0


class Actor(FaultyFs):
    """The file system of one thread. Every call waits until the thread is let go on."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.steps, self.is_done = name, 0, True
        self.error: BaseException | None = None
        self.result: object = None
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Begin to work, up to the first call."""

        def run() -> None:
            try:
                self.result = work()
            except BaseException as error:  # looked at by the test
                self.error = error
            self.is_done = True
            self._arrived.release()

        self.is_done, self.steps = False, 0
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        self._wait()

    def advance(self) -> None:
        """Do one call, up to the next one or the end."""
        self.steps += 1
        self._go.release()
        self._wait()

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        if threading.current_thread() is self._thread and not self.is_done:
            self._arrived.release()
            assert self._go.acquire(timeout=LONGEST_S)
        return super().step(name, work)

    def _wait(self) -> None:
        assert self._arrived.acquire(timeout=LONGEST_S), f"{self.name} waits for somebody who waits for it"


def take_turns(order: Iterable[tuple[Actor, int]], actors: Iterable[Actor]) -> None:
    """Let each actor of `order` do so many calls, as long as it has any, then the others to their ends."""
    for actor, count in order:
        for _ in range(count):
            if actor.is_done:
                break
            actor.advance()
    alive = [actor for actor in actors if not actor.is_done]
    while alive:  # one after the other, but who waits for another one must not wait for ever
        for actor in alive:
            for _ in range(200):
                if actor.is_done:
                    break
                actor.advance()
        alive = [actor for actor in alive if not actor.is_done]
