"""BACKGROUND hooks never block, lose nothing that fits, and are drained at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from model_checkpoint.hooks import HookEvent, HookManager, HookPriority
from model_checkpoint.hooks.background import CAPACITY

SAVE, SAVED = HookEvent.BEFORE_CHECKPOINT_SAVE, HookEvent.AFTER_CHECKPOINT_SAVE
LATER = HookPriority.BACKGROUND


@pytest.fixture
def hooks() -> Iterator[HookManager]:
    made = HookManager()
    yield made
    made.close(1)


def test_they_are_called_later_in_order_and_flush_waits_for_them(hooks: HookManager) -> None:
    seen: list[int] = []

    def slow(context: object) -> None:
        time.sleep(0.01)
        seen.append(context.epoch)  # type: ignore[attr-defined]

    hooks.register_hook("slow", slow, [SAVED], priority=LATER)
    started = time.perf_counter()
    for epoch in range(10):
        hooks.fire(SAVED, epoch=epoch)
    assert time.perf_counter() - started < 0.05
    assert hooks.flush(5)
    assert seen == list(range(10))


def test_they_get_a_snapshot_without_live_objects_and_their_result_is_not_collected(hooks: HookManager) -> None:
    seen: list[object] = []

    def look(context: object) -> bool:
        seen.append((context.get("model"), dict(context.tags)))  # type: ignore[attr-defined]
        return False

    gate = threading.Event()
    hooks.register_hook("gate", lambda context: gate.wait(5) and None, [SAVE], priority=LATER)
    hooks.register_hook("look", look, [SAVE], priority=LATER)
    tags = {"a": ""}
    assert hooks.fire(SAVE, model=object(), tags=tags).results == ()
    tags["b"] = ""
    gate.set()
    assert hooks.flush(5)

    assert seen == [(None, {"a": ""})]


def test_flush_gives_up_after_its_limit(hooks: HookManager) -> None:
    gate = threading.Event()
    hooks.register_hook("gate", lambda context: gate.wait(5), [SAVED], priority=LATER)
    hooks.fire(SAVED)

    assert not hooks.flush(0.05)
    gate.set()
    assert hooks.flush(5)


def test_when_the_queue_is_full_the_oldest_is_dropped_and_counted(hooks: HookManager) -> None:
    gate, seen = threading.Event(), []

    def wait(context: object) -> None:
        gate.wait(10)
        seen.append(context.epoch)  # type: ignore[attr-defined]

    hooks.register_hook("wait", wait, [SAVED], priority=LATER)
    hooks.fire(SAVED, epoch=-1)
    time.sleep(0.05)  # the first one is being called and stands in no queue
    for epoch in range(CAPACITY + 7):
        hooks.fire(SAVED, epoch=epoch)
    gate.set()
    assert hooks.flush(10)

    assert seen == [-1, *range(7, CAPACITY + 7)]
    assert hooks.stats()[0].skipped == 7


def test_an_error_is_told_and_the_next_ones_are_called(hooks: HookManager) -> None:
    told: list[object] = []
    seen: list[int] = []

    def sometimes(context: object) -> None:
        if context.epoch == 0:  # type: ignore[attr-defined]
            raise SystemExit(1)
        seen.append(context.epoch)  # type: ignore[attr-defined]

    hooks.register_hook("told", told.append, [HookEvent.ON_PLUGIN_ERROR])
    hooks.register_hook("sometimes", sometimes, [SAVED], priority=LATER, on_error="abort")
    for epoch in range(3):
        hooks.fire(SAVED, epoch=epoch)
    assert hooks.flush(5)

    assert seen == [1, 2]
    assert len(told) == 1


def test_a_background_hook_may_flush_and_fire_itself(hooks: HookManager) -> None:
    seen: list[str] = []

    def hook(context: object) -> None:
        assert hooks.flush(1)
        hooks.fire(HookEvent.ON_RUN_END)
        seen.append("done")

    hooks.register_hook("hook", hook, [SAVED], priority=LATER)
    hooks.register_hook("end", lambda context: seen.append("end"), [HookEvent.ON_RUN_END], priority=LATER)
    hooks.fire(SAVED)
    assert hooks.flush(5)

    assert seen == ["done", "end"]


def test_close_drains_ends_the_thread_and_a_later_call_starts_another(hooks: HookManager) -> None:
    seen: list[int] = []
    hooks.register_hook("x", lambda context: seen.append(1), [SAVED], priority=LATER)
    hooks.fire(SAVED)
    assert hooks.close(5)
    assert seen == [1]
    hooks.fire(SAVED)
    assert hooks.flush(5)
    assert seen == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_its_own_work_and_not_its_parents() -> None:
    program = """
    import os, threading
    from model_checkpoint.hooks import HookManager, HookPriority
    hooks, gate = HookManager(), threading.Event()
    hooks.register_hook("x", lambda c: (gate.wait(5), print(os.getpid(), c.reason, flush=True)) and None,
                        ["on_system_shutdown"], priority=HookPriority.BACKGROUND)
    hooks.fire("on_system_shutdown", reason="parent")
    hooks.fire("on_system_shutdown", reason="parent")
    pid = os.fork()
    gate.set()
    if pid == 0:
        assert hooks.flush(1)
        hooks.fire("on_system_shutdown", reason="child")
        assert hooks.flush(5)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert hooks.flush(5)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30)

    assert done.returncode == 0, done.stderr
    reasons = [line.split()[1] for line in done.stdout.splitlines()]
    assert sorted(reasons) == ["child", "parent", "parent"]


def test_the_interpreter_ends_with_a_full_queue_and_a_hanging_hook() -> None:
    program = """
    import time
    from model_checkpoint.hooks import HookManager, HookPriority
    hooks = HookManager()
    hooks.register_hook("x", lambda c: time.sleep(60), ["on_run_end"], priority=HookPriority.BACKGROUND)
    for _ in range(100):
        hooks.fire("on_run_end")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=10, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
