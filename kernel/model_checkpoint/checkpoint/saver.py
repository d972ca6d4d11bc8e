"""Saves that do not block: a thread of its own writes what was staged, in the order in which it was saved.

At most `CAPACITY` saves are under way; the next one waits for room. A save that failed is told by `Saver.wait`, or by
the next call on the kernel where nobody waited for it. A forked child knows nothing of its parent's saves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_checkpoint.checkpoint.staging import Stage
from model_checkpoint.errors import OperationVetoed

if TYPE_CHECKING:
    from model_checkpoint.contracts import CheckpointRecord

CAPACITY = 2
_log = logging.getLogger("model_checkpoint")


@dataclass(slots=True, eq=False)
class Pending:
    """One save that was staged and is not durable yet."""

    checkpoint_id: str
    finish: Callable[[], CheckpointRecord]
    stage: Stage


class _Turn:
    """The time in which one save is finished. Its hooks know of it by their context, on whatever thread they run."""

    held = True


class Saver:
    """Finishes staged saves, one after another, on a thread that lives while there are some."""

    def __init__(self) -> None:
        self._turn: ContextVar[_Turn | None] = ContextVar("model_checkpoint_saver", default=None)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[Pending] = deque()
        self._current: Pending | None = None
        self._stages = [Stage() for _ in range(CAPACITY)]
        self._failed: dict[str, BaseException] = {}
        self._thread: threading.Thread | None = None

    @property
    def is_finishing(self) -> bool:
        """Whether the caller is part of a save that is being finished: one of its hooks, on whatever thread."""
        turn = self._turn.get()
        return turn is not None and turn.held

    def pending(self) -> tuple[str, ...]:
        """Return the ids of all saves that are not durable yet, the oldest first."""
        self._forget_parents()
        with self._changed:
            return tuple(each.checkpoint_id for each in (self._current, *self._waiting) if each is not None)

    @contextlib.contextmanager
    def room(self) -> Iterator[Stage]:
        """Wait until there is room for another save, and give the memory for it. Without `put` it is free again."""
        self._forget_parents()
        stage: Stage | None = None
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._stages)
                stage = self._stages.pop()
            yield stage
        finally:
            with self._changed:
                if stage is not None and not any(each.stage is stage for each in (*self._waiting, *self._at_work())):
                    self._stages = [stage, *(each for each in self._stages if each is not stage)]
                    self._changed.notify_all()

    def put(self, pending: Pending) -> None:
        """Have a save finished after those before it; where no thread can be started, now."""
        with self._changed:
            self._waiting.append(pending)
            if self._thread is not None:
                return
            # a daemon: at the end of the process the kernel's own close waits for it, not the interpreter
            self._thread = threading.Thread(target=self._work, name="mce-saver", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._work()

    def wait(self, checkpoint_id: str | None = None) -> None:
        """Wait for one save, or for all. Raises what the one that is named failed with; for all nothing."""
        if self.is_finishing:  # a hook of the save under way asks: it cannot wait for itself
            return
        self._forget_parents()
        with self._changed:
            self._changed.wait_for(
                lambda: all(
                    checkpoint_id not in (None, each.checkpoint_id) for each in (*self._at_work(), *self._waiting)
                )
            )
            error = self._failed.pop(checkpoint_id, None) if checkpoint_id is not None else None
        if error is not None:
            raise error

    def log_failures(self) -> None:
        """Log the failures that nobody has heard of, where something else is being raised already."""
        self._forget_parents()
        for checkpoint_id, error in self._failed.items():
            _log.error("the non-blocking save of checkpoint %s failed: %s", checkpoint_id, error)
        self._failed.clear()

    def raise_failure(self) -> None:
        """Raise the first failure that nobody has heard of."""
        self._forget_parents()
        if not self._failed:
            return
        with self._changed:
            checkpoint_id = next(iter(self._failed), None)
            error = self._failed.pop(checkpoint_id) if checkpoint_id is not None else None
        if error is not None:
            error.add_note(f"This was the non-blocking save of checkpoint {checkpoint_id}.")
            raise error

    def close(self) -> None:
        """Wait for all, and let go of the memory for copies."""
        self.wait()
        for stage in self._stages:
            stage.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    return
                pending = self._current = self._waiting.popleft()
            error: BaseException | None = None
            turn = _Turn()
            token = self._turn.set(turn)
            try:
                pending.finish()
            except BaseException as raised:  # told to who waits, or at the next call
                error = raised
            finally:
                turn.held = False
                self._turn.reset(token)
            with self._changed:
                if isinstance(error, OperationVetoed):
                    _log.warning("checkpoint %s was not saved: %s", pending.checkpoint_id, error)
                elif error is not None:
                    self._failed[pending.checkpoint_id] = error
                self._current = None
                self._stages.append(pending.stage)
                self._changed.notify_all()

    def _at_work(self) -> tuple[Pending, ...]:
        return (self._current,) if self._current is not None else ()

    def _forget_parents(self) -> None:
        if self._pid != os.getpid():
            self._begin()
