"""Hooks with a time limit: what is late is abandoned, and changes nothing."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator

import pytest

from model_checkpoint.errors import HookTimeoutError, OperationVetoed
from model_checkpoint.hooks import HookEvent, HookManager

SAVE, SAVED = HookEvent.BEFORE_CHECKPOINT_SAVE, HookEvent.AFTER_CHECKPOINT_SAVE
LIMIT_S = 0.05


@pytest.fixture
def hooks() -> Iterator[HookManager]:
    made = HookManager()
    yield made
    made.close(1)


def hang(context: object) -> None:
    time.sleep(2)


def test_a_hook_that_hangs_costs_its_limit_and_the_next_ones_are_called(hooks: HookManager) -> None:
    seen: list[object] = []
    hooks.register_hook("hangs", hang, [SAVED], timeout=LIMIT_S)
    hooks.register_hook("next", seen.append, [SAVED])
    started = time.perf_counter()
    hooks.fire(SAVED)

    assert LIMIT_S <= time.perf_counter() - started < 0.5
    assert len(seen) == 1


def test_two_timeouts_switch_it_off_and_the_statistics_show_it(hooks: HookManager) -> None:
    told: list[object] = []
    hooks.register_hook("told", told.append, [HookEvent.ON_PLUGIN_ERROR])
    hooks.register_hook("hangs", hang, [SAVED], timeout=LIMIT_S)
    for _ in range(4):
        hooks.fire(SAVED)

    (line,) = [s for s in hooks.stats() if s.plugin == "hangs"]
    assert (line.calls, line.timeouts, line.quarantined) == (2, 2, True)
    assert [(t.timed_out, t.quarantined) for t in told] == [(True, False), (True, True)]  # type: ignore[attr-defined]


def test_what_a_late_hook_changes_is_never_seen(hooks: HookManager) -> None:
    let_go, done = threading.Event(), threading.Event()

    def late(context: object) -> None:
        let_go.wait(5)
        context.tags["late"] = ""  # type: ignore[attr-defined]
        context.backend = "memory"  # type: ignore[attr-defined]
        done.set()

    hooks.register_hook("late", late, [SAVE], timeout=LIMIT_S)
    tags: dict[str, str] = {}
    report = hooks.fire(SAVE, tags=tags)
    let_go.set()
    assert done.wait(5)

    assert (report.context.tags, tags, report.context.backend) == ({}, {}, None)


def test_what_a_hook_in_time_changes_counts_as_without_a_limit(hooks: HookManager) -> None:
    def change(context: object) -> dict[str, object]:
        context.tags["a"] = ""  # type: ignore[attr-defined]
        context.options = {"x": 1}  # type: ignore[attr-defined]
        return {"backend": "memory"}

    hooks.register_hook("change", change, [SAVE], timeout=5)
    context = hooks.fire(SAVE, tags={}).context

    assert (context.tags, context.options, context.backend) == ({"a": ""}, {"x": 1}, "memory")


def test_a_veto_in_time_counts(hooks: HookManager) -> None:
    hooks.register_hook("no", lambda context: False, [SAVE], timeout=5)
    with pytest.raises(OperationVetoed):
        hooks.fire(SAVE)


def test_a_timeout_of_a_hook_that_aborts_ends_the_operation(hooks: HookManager) -> None:
    hooks.register_hook("hangs", hang, [SAVED], timeout=LIMIT_S, on_error="abort")
    with pytest.raises(HookTimeoutError, match=r"limit of 0\.05 s"):
        hooks.fire(SAVED)


def test_a_timeout_error_of_its_own_is_an_ordinary_error(hooks: HookManager) -> None:
    def raises(context: object) -> None:
        raise TimeoutError("mine")

    hooks.register_hook("raises", raises, [SAVED], timeout=5)
    hooks.fire(SAVED)

    assert (hooks.stats()[0].errors, hooks.stats()[0].timeouts) == (1, 0)


def test_the_hook_sees_the_callers_context_variables(hooks: HookManager) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("here")
    seen: list[str] = []
    hooks.register_hook("x", lambda context: seen.append(variable.get()), [SAVED], timeout=5)
    hooks.fire(SAVED)

    assert seen == ["here"]


def test_threads_are_used_again_and_end_with_the_manager(hooks: HookManager) -> None:
    threads: set[threading.Thread] = set()
    hooks.register_hook("x", lambda context: threads.add(threading.current_thread()), [SAVED], timeout=5)
    for _ in range(20):
        hooks.fire(SAVED)
    assert len(threads) == 1
    assert threads != {threading.current_thread()}
    hooks.close()
    (thread,) = threads
    thread.join(5)
    assert not thread.is_alive()


def test_limits_hold_from_several_threads_at_once(hooks: HookManager) -> None:
    count = threading.Semaphore(0)
    hooks.register_hook("x", lambda context: count.release(), [SAVED], timeout=5)
    callers = [threading.Thread(target=lambda: [hooks.fire(SAVED) for _ in range(50)]) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert all(count.acquire(blocking=False) for _ in range(400))
    assert hooks.stats()[0].calls == 400
