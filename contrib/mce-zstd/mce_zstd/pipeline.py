"""Work on chunks in several threads, results in order, and never more than a few chunks in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def thread_count(threads: int) -> int:
    """Return how many threads 0 means here."""
    return threads or min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def in_order(work: Callable[[A], B], items: Iterable[A], threads: int) -> Generator[B, None, None]:
    """Yield ``work(item)`` of each item, in order, with at most twice as many items under way as there are threads.

    Whatever is raised, here or there, no thread is at work any more once the generator is closed.
    """
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="mce-zstd")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
