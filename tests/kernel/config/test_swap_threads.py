"""Readers in eight threads never see half a snapshot, nor an older one after a newer one."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from itertools import count

import pytest

from model_checkpoint.config import ConfigSwap, Loaded, Section

SWAPS, READERS, WRITERS = 10_000, 8, 2


def numbered(loaded: Loaded, number: int) -> Loaded:
    """Return a snapshot in which every part carries the same number."""
    config = loaded.config
    return replace(
        loaded,
        config=replace(
            config,
            storage=replace(config.storage, verify=str(number)),
            plugins=Section({name: {"number": number} for name in "abc"}),
        ),
    )


@pytest.fixture
def _often_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_often_switching")
def test_ten_thousand_swaps_under_eight_readers_are_never_mixed_and_never_go_back(folder) -> None:
    first = numbered(folder.load(), 0)
    numbers = count(1)
    swap = ConfigSwap(first, lambda: numbered(first, next(numbers)), lambda *_, **__: None, tuple)
    done = threading.Event()
    wrong: list[object] = []
    reads = [0] * READERS

    def read(reader: int) -> None:
        newest = 0
        while not done.is_set():
            config = swap.current
            seen = {config.storage.verify, *(str(section["number"]) for section in config.plugins.values())}
            if seen != {str(config.generation)} or config.generation < newest:
                wrong.append((seen, config.generation, newest))
            newest = config.generation
            reads[reader] += 1
            if reads[reader] % 50 == 0:
                time.sleep(0.001)  # the writers want the interpreter, too

    def write() -> None:
        for _ in range(SWAPS // WRITERS):
            swap.reload()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    writers = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert wrong == []
    assert swap.current.generation == SWAPS
    assert min(reads) > 0


def test_updates_of_many_threads_all_come_into_force(folder) -> None:
    swap = ConfigSwap(folder.load(), folder.load, lambda *_, **__: None, tuple)

    def write(number: int) -> None:
        for step in range(25):
            swap.update({f"plugins.p{number}.step": step})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert swap.current.plugins == {f"p{number}": {"step": 24} for number in range(4)}
    assert swap.current.generation == 100
