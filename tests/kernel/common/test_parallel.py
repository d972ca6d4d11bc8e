"""Work that several threads share: all of it is done, errors come out, and nobody is at work afterwards."""

from __future__ import annotations

import _thread
import threading
import time

import pytest

from model_checkpoint.common.parallel import Stop, in_parallel


def shared(count: int, seen: list[int], each: float = 0.0) -> object:
    items, lock = iter(range(count)), threading.Lock()

    def work(stop: Stop) -> None:
        while not stop:
            with lock:
                item = next(items, None)
            if item is None:
                return
            time.sleep(each)
            seen.append(item)

    return work


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_everything_is_done_once(threads: int) -> None:
    seen: list[int] = []
    in_parallel(shared(200, seen, 0.0005), threads)  # type: ignore[arg-type]
    assert sorted(seen) == list(range(200))


@pytest.mark.parametrize("where", ["here", "there"])
def test_an_error_stops_the_others_and_comes_out(where: str) -> None:
    main, steps, told = threading.get_ident(), [0], []

    def work(stop: Stop) -> None:
        if (threading.get_ident() == main) == (where == "here"):
            raise ZeroDivisionError
        while not stop:
            steps[0] += 1
            time.sleep(0.001)

    with pytest.raises(ZeroDivisionError):
        in_parallel(work, 3, on_stop=lambda: told.append(1))
    before = steps[0]
    time.sleep(0.02)
    assert steps[0] == before
    assert told or where == "there"


def test_after_two_interrupts_nobody_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = threading.Event()
    main = threading.get_ident()
    at_work = [0]

    def work(stop: Stop) -> None:
        if threading.get_ident() == main:
            busy.wait()
            return
        at_work[0] += 1
        busy.set()
        for _ in range(2):
            time.sleep(0.05)
            _thread.interrupt_main()
        time.sleep(0.2)  # in the middle of a piece
        at_work[0] -= 1

    with pytest.raises(KeyboardInterrupt):
        in_parallel(work, 2)
    assert at_work == [0]


def test_where_no_thread_can_be_started_the_caller_does_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    seen: list[int] = []
    in_parallel(shared(20, seen), 4)  # type: ignore[arg-type]
    assert seen == list(range(20))
