"""Firing, registering and unregistering at the same time."""

from __future__ import annotations

import threading
import time

from model_checkpoint.hooks import HookEvent, HookManager

SAVED = HookEvent.AFTER_CHECKPOINT_SAVE


def test_no_call_is_lost_while_others_register_and_unregister() -> None:
    hooks = HookManager(strict=True)
    counted = [0] * 8
    failures: list[BaseException] = []

    def stay(context: object) -> None:
        counted[context.step] += 1  # type: ignore[attr-defined]

    hooks.register_hook("stays", stay, [SAVED])
    stop = threading.Event()

    def fire(number: int) -> None:
        try:
            for _ in range(2000):
                hooks.fire(SAVED, step=number)
        except BaseException as error:
            failures.append(error)

    def churn(number: int) -> None:
        try:
            while not stop.is_set():
                hooks.register_hook(f"churn {number}", lambda context: None, [SAVED], priority=number * 20)
                hooks.unregister_hook(f"churn {number}")
        except BaseException as error:
            failures.append(error)

    firing = [threading.Thread(target=fire, args=(number,)) for number in range(8)]
    churning = [threading.Thread(target=churn, args=(number,)) for number in range(3)]
    for thread in firing + churning:
        thread.start()
    for thread in firing:
        thread.join()
    stop.set()
    for thread in churning:
        thread.join()

    assert failures == []
    assert counted == [2000] * 8
    assert hooks.stats()[0].calls == 16_000


def test_a_thousand_hooks_are_registered_in_a_moment_and_called_in_order() -> None:
    hooks, seen = HookManager(), []
    started = time.perf_counter()
    for number in range(1000):
        hooks.register_hook(f"h{number}", lambda context, n=number: seen.append(n), [SAVED])
    took_s = time.perf_counter() - started
    hooks.fire(SAVED)

    assert seen == list(range(1000))
    assert took_s < 5, "the benchmark holds the real bar of 1 s"
