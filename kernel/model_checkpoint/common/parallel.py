"""The same work in several threads, the calling one among them."""

from __future__ import annotations

import threading
from collections.abc import Callable


def in_parallel(work: Callable[[], None], threads: int) -> None:
    """Call ``work()`` in `threads` threads at once, one of them this one; it shares out by itself what is to be done.

    Raises what the calling thread's own call raised, else the first that another one did. Where no thread can be
    started any more, as at the end of the process, the calling thread does everything.
    """
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # handed on below
            errors.append(error)

    others = [threading.Thread(target=guarded, name=f"mce-{number}", daemon=True) for number in range(1, threads)]
    started = []
    try:
        for thread in others:
            try:
                thread.start()
            except RuntimeError:
                break
            started.append(thread)
        work()
    finally:
        for thread in started:
            thread.join()
    if errors:
        raise errors[0]
