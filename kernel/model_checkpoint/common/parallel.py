"""The same work in several threads, the calling one among them."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Stop:
    """Tells workers that there is nothing more to do: one of them failed, or the caller was interrupted."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Tell them."""
        self._event.set()


def in_parallel(work: Callable[[Stop], None], threads: int, *, on_stop: Callable[[], object] = lambda: None) -> None:
    """Call ``work(stop)`` in `threads` threads at once, one of them this one; it shares out by itself what is to do.

    `work` looks at `stop` between two pieces of its work. Whatever happens, an interrupt from the keyboard or two, no
    other thread is at work when this returns. Raises what the calling thread's own call raised, else the first that
    another one did; `on_stop` is called before the others are waited for then. Where no thread can be started any more,
    as at the end of the process, the calling thread does everything.
    """
    stop, errors = Stop(), list[BaseException]()
    running: list[threading.Event] = []

    def guarded() -> None:
        done = threading.Event()
        running.append(done)  # before the look at `stop`: who begins too late to be waited for does nothing
        try:
            if not stop:
                work(stop)
        except BaseException as error:  # handed on below
            errors.append(error)
            stop.set()
        finally:
            done.set()

    failure: BaseException | None = None
    try:
        for number in range(1, threads):
            try:
                threading.Thread(target=guarded, name=f"mce-{number}", daemon=True).start()
            except RuntimeError:
                break
        work(stop)
    except BaseException as error:
        failure = error
    while True:  # Thread.join is no help: interrupted, it may take a thread that is at work for one that has ended
        try:
            if failure is not None:
                stop.set()
                on_stop()
            for done in running:
                done.wait()
            stop.set()  # one that begins only now finds nothing to do
            break
        except BaseException as error:  # another Ctrl-C: the memory that the others write to is not theirs alone
            failure = failure or error
    if failure is not None:
        raise failure
    if errors:
        raise errors[0]
