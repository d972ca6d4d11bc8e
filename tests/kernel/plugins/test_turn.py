"""One activation at a time, and none that hangs holds up the others for longer than its limit."""

from __future__ import annotations

import threading
import time

import pytest

from model_checkpoint.errors import PluginLoadError
from model_checkpoint.plugins.turn import Turn


def nothing() -> None:
    return None


def test_a_thread_takes_its_own_turn_again() -> None:
    turn = Turn()
    with turn.taken(), turn.taken():
        pass
    with turn.taken():
        pass


def test_another_thread_waits_for_the_turn() -> None:
    turn, seen = Turn(), []

    def other() -> None:
        with turn.taken():
            seen.append("other")

    with turn.taken():
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.05)
        seen.append("first")
    thread.join(5)
    assert seen == ["first", "other"]


def test_a_thread_that_works_for_the_one_whose_turn_it_is_has_it_too() -> None:
    turn = Turn()

    def works() -> int:
        with turn.taken():
            return threading.get_ident()

    with turn.taken():
        assert turn.within(5, "x", works, nothing) != threading.get_ident()


def test_what_the_call_raises_is_raised() -> None:
    turn = Turn()
    with turn.taken(), pytest.raises(ZeroDivisionError):
        turn.within(5, "x", lambda: 1 / 0, nothing)


def test_one_that_hangs_costs_its_limit_and_cleans_up_when_it_comes_back() -> None:
    turn, go_on, abandoned = Turn(), threading.Event(), threading.Event()

    def hangs() -> None:
        with turn.taken():
            go_on.wait(10)

    with turn.taken(), pytest.raises(PluginLoadError, match=r"within 0\.05 s and is left out: raise plugin_timeout_s"):
        turn.within(0.05, "x", hangs, abandoned.set)
    with turn.taken():  # the turn is free although the thread still hangs
        assert not abandoned.is_set()
    go_on.set()
    assert abandoned.wait(5)


def test_a_late_thread_has_no_part_in_the_turn_any_more() -> None:
    turn, go_on, in_turn, ended = Turn(), threading.Event(), threading.Event(), threading.Event()

    def late() -> None:
        go_on.wait(10)
        with turn.taken():
            in_turn.set()

    with turn.taken():
        with pytest.raises(PluginLoadError):
            turn.within(0.02, "x", late, ended.set)
        go_on.set()
        assert not in_turn.wait(0.1)
    assert in_turn.wait(5)
    assert ended.wait(5)


def test_the_context_of_the_caller_is_handed_on() -> None:
    import contextvars

    colour = contextvars.ContextVar("colour", default="grey")
    turn = Turn()
    colour.set("red")
    with turn.taken():
        assert turn.within(5, "x", colour.get, nothing) == "red"
