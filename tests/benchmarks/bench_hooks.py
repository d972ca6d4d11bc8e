"""What a hook costs, beside the same hook on bare pluggy, in one process.

Every number is the time of one call, averaged over many. What conda does, to wrap each function anew at every call so
that its errors can be caught, is measured beside it. The floor is a call of a plain Python function that does nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import pluggy

from harness import Comparison, Measurement, main, seconds
from model_checkpoint.hooks import HookEvent, HookManager, hookimpl
from model_checkpoint.hooks.contexts import context_class

EVENT = HookEvent.AFTER_CHECKPOINT_SAVE
NAME = EVENT.value
CONTEXT: Any = context_class(NAME)(event=EVENT)
spec, impl = pluggy.HookspecMarker("bare"), pluggy.HookimplMarker("bare")


class Spec:
    """The same hookspec for bare pluggy."""

    @spec
    def after_checkpoint_save(self, context: object, kernel: object = None) -> object:
        """Nothing."""


def nanoseconds(call: Callable[[], object], times: int) -> Measurement:
    """Return a measurement of how many nanoseconds one call takes."""

    def loop() -> None:
        for _ in range(times):
            call()

    return lambda: seconds(loop) / times * 1e9


def ours(count: int, **options: object) -> Callable[[], object]:
    """Return a call of the event with `count` native hooks of ours."""
    hooks = HookManager()
    for number in range(count):

        class Plugin:
            @hookimpl(**options)  # type: ignore[call-overload]
            def after_checkpoint_save(self, context: object) -> None: ...

        hooks.register(Plugin(), f"p{number}")
    caller = hooks.hook.after_checkpoint_save
    return lambda: caller(context=CONTEXT)


def bare(count: int) -> Callable[[], object]:
    """Return the same on bare pluggy."""
    manager = pluggy.PluginManager("bare")
    manager.add_hookspecs(Spec)
    for _ in range(count):

        class Plugin:
            @impl
            def after_checkpoint_save(self, context: object) -> None: ...

        manager.register(Plugin())
    caller = manager.hook.after_checkpoint_save
    return lambda: caller(context=CONTEXT)


def wrapped_at_every_call(count: int) -> Callable[[], object]:
    """Return the same with each function wrapped anew at every call, and called one by one."""
    manager = pluggy.PluginManager("bare")
    manager.add_hookspecs(Spec)
    for _ in range(count):

        class Plugin:
            @impl
            def after_checkpoint_save(self, context: object) -> None: ...

        manager.register(Plugin())
    caller = manager.hook.after_checkpoint_save

    def call() -> None:
        for each in caller.get_hookimpls():

            def guarded(function: Callable[..., object] = each.function) -> object:
                try:
                    return function(context=CONTEXT)
                except Exception:
                    return None

            guarded()

    return call


def gated() -> Callable[[int], None]:
    """Return a loop over a hot call site to which nobody listens."""
    hooks, name = HookManager(), "before_metric_collection"

    def loop(times: int) -> None:
        for _ in range(times):
            if name in hooks.live_events:
                raise AssertionError

    return loop


def gate(times: int) -> Measurement:
    """Return a measurement of the gate alone: the loop around it is taken off."""
    loop = gated()

    def empty() -> None:
        for _ in range(times):
            pass

    return lambda: max(seconds(lambda: loop(times)) - seconds(empty), 0.0) / times * 1e9


def asynchronous() -> Callable[[], object]:
    """Return a call of the event with one async hook, from sync code."""
    hooks = HookManager()

    async def hook(context: object) -> None: ...

    hooks.register_hook("async", hook, [EVENT])
    return lambda: hooks.hook.after_checkpoint_save(context=CONTEXT)


def submit() -> Callable[[], object]:
    """Return the least that running a coroutine on another thread's loop costs."""
    import threading

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def nothing() -> None: ...

    return lambda: asyncio.run_coroutine_threadsafe(nothing(), loop).result()


def thousand_registrations() -> float:
    """Return how many seconds it takes to register a thousand hooks on one event."""
    hooks = HookManager()

    def register() -> None:
        for number in range(1000):
            hooks.register_hook(f"h{number}", lambda context: None, [EVENT])

    return seconds(register)


def thousand_bare_registrations() -> float:
    """Return the same on bare pluggy."""
    manager = pluggy.PluginManager("bare")
    manager.add_hookspecs(Spec)

    class Plugin:
        @impl
        def after_checkpoint_save(self, context: object) -> None: ...

    return seconds(lambda: [manager.register(Plugin()) for _ in range(1000)])


def describe(quick: bool) -> Sequence[Comparison]:
    """Return the comparisons; --quick makes fewer calls of each."""
    times, slow_times = (20_000, 300) if quick else (100_000, 2_000)
    pluggy_name = f"pluggy {version('pluggy')}"
    floor = nanoseconds(lambda: None, times)

    def against_pluggy(count: int, bar: float | None) -> Comparison:
        return Comparison(
            measure=f"a call with {count} hook{'s' if count != 1 else ''}",
            unit="ns",
            ours=nanoseconds(ours(count), times),
            peer=f"bare {pluggy_name}",
            peer_measurement=nanoseconds(bare(count), times),
            floor=floor,
            bar=bar,
        )

    return [
        against_pluggy(0, None),
        against_pluggy(1, 1.5),
        against_pluggy(10, 2.2),
        Comparison(
            measure="a call with 10 hooks, wrapped once",
            unit="ns",
            ours=nanoseconds(ours(10), times),
            peer="each wrapped at every call",
            peer_measurement=nanoseconds(wrapped_at_every_call(10), times),
            floor=floor,
        ),
        Comparison(
            measure="a gated site to which nobody listens",
            unit="ns",
            ours=gate(times * 10),
            peer="30 ns",
            peer_measurement=lambda: 30.0,
            bar=1.0,
        ),
        Comparison(
            measure="a call with 1 hook that has a time limit",
            unit="ns",
            ours=nanoseconds(ours(1, timeout=5.0), slow_times),
            peer=f"bare {pluggy_name}, without a limit",
            peer_measurement=nanoseconds(bare(1), times),
            floor=floor,
        ),
        Comparison(
            measure="a call with 1 async hook, from sync code",
            unit="ns",
            ours=nanoseconds(asynchronous(), slow_times),
            peer="asyncio.run_coroutine_threadsafe alone",
            peer_measurement=nanoseconds(submit(), slow_times),
            floor=floor,
        ),
        Comparison(
            measure="registering 1,000 hooks",
            unit="s",
            ours=thousand_registrations,
            peer="1 s",
            peer_measurement=lambda: 1.0,
            floor=thousand_bare_registrations,
            bar=1.0,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(__doc__, describe))
