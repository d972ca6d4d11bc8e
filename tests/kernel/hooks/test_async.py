"""Async hooks from sync and from async code: the same order, limits and isolation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from model_checkpoint.errors import OperationVetoed
from model_checkpoint.hooks import BaseHook, HookEvent, HookManager, async_hook_handler, hookimpl, retry_on_failure

SAVE, SAVED = HookEvent.BEFORE_CHECKPOINT_SAVE, HookEvent.AFTER_CHECKPOINT_SAVE


@pytest.fixture
def hooks() -> Iterator[HookManager]:
    made = HookManager()
    yield made
    made.close(1)


def register_three(hooks: HookManager, seen: list[str]) -> None:
    async def second(context: object) -> None:
        await asyncio.sleep(0.01)
        seen.append("second")

    hooks.register_hook("first", lambda context: seen.append("first"), [SAVED])
    hooks.register_hook("second", second, [SAVED])
    hooks.register_hook("third", lambda context: seen.append("third"), [SAVED])


def test_from_sync_code_they_are_waited_for_in_order(hooks: HookManager) -> None:
    seen: list[str] = []
    register_three(hooks, seen)
    hooks.fire(SAVED)

    assert seen == ["first", "second", "third"]


def test_from_async_code_they_are_waited_for_in_order_on_the_callers_loop(hooks: HookManager) -> None:
    seen: list[str] = []
    loops: list[object] = []
    register_three(hooks, seen)

    async def note_loop(context: object) -> None:
        loops.append(asyncio.get_running_loop())

    hooks.register_hook("loop", note_loop, [SAVED])

    async def main() -> object:
        await hooks.afire(SAVED)
        return asyncio.get_running_loop()

    assert loops == [] or loops
    assert asyncio.run(main()) is loops[0]
    assert seen == ["first", "second", "third"]


def test_the_callers_loop_goes_on_meanwhile_and_its_own_objects_can_be_used(hooks: HookManager) -> None:
    async def main() -> tuple[int, str]:
        queue: asyncio.Queue[str] = asyncio.Queue()  # bound to this loop
        ticks = 0

        async def hook(context: object) -> None:
            await asyncio.sleep(0.05)
            await queue.put("from the hook")

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        hooks.register_hook("hook", hook, [SAVED])
        ticking = asyncio.create_task(tick())
        await hooks.afire(SAVED)
        ticking.cancel()
        return ticks, queue.get_nowait()

    ticks, got = asyncio.run(main())
    assert ticks > 5
    assert got == "from the hook"


def test_a_client_made_on_the_callers_loop_works_from_afire_and_a_sync_fire_elsewhere(hooks: HookManager) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main() -> list[bytes]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        got: list[bytes] = []

        async def ask(context: object) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\n")
            got.append(await reader.readline())
            writer.close()

        hooks.register_hook("ask", ask, [SAVED], timeout=5)
        await hooks.afire(SAVED)
        await asyncio.to_thread(hooks.fire, SAVED)
        server.close()
        return got

    assert asyncio.run(main()) == [b"hello\n", b"hello\n"]


def test_a_sync_fire_on_a_running_loop_uses_the_kernels_own_loop(hooks: HookManager) -> None:
    seen: list[object] = []

    async def hook(context: object) -> None:
        seen.append(asyncio.get_running_loop())

    hooks.register_hook("hook", hook, [SAVED])

    async def main() -> object:
        hooks.fire(SAVED)
        return asyncio.get_running_loop()

    assert asyncio.run(main()) is not seen[0]


def test_their_results_vetoes_and_changes_count(hooks: HookManager) -> None:
    async def change(context: object) -> dict[str, object]:
        return {"backend": "memory"}

    async def refuse(context: object) -> bool:
        return False

    hooks.register_hook("change", change, [SAVE])
    assert hooks.fire(SAVE).context.backend == "memory"
    assert asyncio.run(hooks.afire(SAVE)).context.backend == "memory"
    hooks.register_hook("refuse", refuse, [SAVE])
    with pytest.raises(OperationVetoed):
        hooks.fire(SAVE)
    with pytest.raises(OperationVetoed):
        asyncio.run(hooks.afire(SAVE))


@pytest.mark.parametrize("from_async", [False, True])
def test_a_coroutine_that_never_ends_is_given_up_after_its_limit(hooks: HookManager, from_async: bool) -> None:
    async def never(context: object) -> None:
        await asyncio.Event().wait()

    hooks.register_hook("never", never, [SAVED], timeout=0.05)
    started = time.perf_counter()
    asyncio.run(hooks.afire(SAVED)) if from_async else hooks.fire(SAVED)

    assert 0.05 <= time.perf_counter() - started < 1
    assert hooks.stats()[0].timeouts == 1


def test_a_coroutine_that_blocks_the_loop_does_not_make_the_others_late(hooks: HookManager) -> None:
    async def blocks(context: object) -> None:
        time.sleep(1.5)

    seen: list[str] = []

    async def fine(context: object) -> None:
        seen.append("fine")

    hooks.register_hook("blocks", blocks, [SAVED], timeout=0.05)
    hooks.register_hook("fine", fine, [SAVED], timeout=1)
    started = time.perf_counter()
    hooks.fire(SAVED)

    assert seen == ["fine"]
    assert time.perf_counter() - started < 1


def test_errors_are_isolated_and_retries_are_awaited(hooks: HookManager) -> None:
    calls: list[int] = []

    @retry_on_failure(attempts=3, delay=0.001)
    async def flaky(context: object) -> str:
        calls.append(1)
        if len(calls) % 3:
            raise OSError("not yet")
        return "done"

    async def bad(context: object) -> None:
        raise ValueError("boom")

    hooks.register_hook("bad", bad, [SAVED])
    hooks.register_hook("flaky", flaky, [SAVED])

    assert hooks.fire(SAVED).results == ("done",)
    assert asyncio.run(hooks.afire(SAVED)).results == ("done",)
    assert hooks.stats()[0].errors == 2


def test_objects_and_plugins_may_have_async_methods(hooks: HookManager) -> None:
    seen: list[str] = []

    class Handlers(BaseHook):
        @async_hook_handler([SAVED])
        async def saved(self, context: object) -> None:
            seen.append("object")

    class Plugin:
        @hookimpl
        async def after_checkpoint_save(self, context: object) -> None:
            seen.append("plugin")

        @hookimpl
        async def choose_storage_backend(self, context: object) -> str:
            return "memory"

    hooks.register_object_hooks(Handlers())
    hooks.register(Plugin())
    hooks.fire(SAVED)

    assert seen == ["object", "plugin"]
    assert hooks.hook.choose_storage_backend(context=None) == "memory"


def test_a_hook_fired_on_the_kernels_own_loop_is_scheduled_and_not_waited_for(hooks: HookManager) -> None:
    seen: list[str] = []
    done = threading.Event()

    async def inner(context: object) -> None:
        seen.append("inner")
        done.set()

    async def outer(context: object) -> None:
        hooks.fire(HookEvent.ON_RUN_END)
        seen.append("outer")

    hooks.register_hook("inner", inner, [HookEvent.ON_RUN_END])
    hooks.register_hook("outer", outer, [SAVED], timeout=5)
    hooks.fire(SAVED)

    assert done.wait(5)
    assert seen == ["outer", "inner"]


def test_an_error_that_comes_too_late_for_its_caller_is_told_all_the_same(hooks: HookManager) -> None:
    told = threading.Event()
    hooks.register_hook("told", lambda context: told.set(), [HookEvent.ON_PLUGIN_ERROR])

    async def inner(context: object) -> None:
        raise ValueError("late")

    async def outer(context: object) -> None:
        hooks.fire(HookEvent.ON_RUN_END)

    hooks.register_hook("inner", inner, [HookEvent.ON_RUN_END], on_error="abort")
    hooks.register_hook("outer", outer, [SAVED])
    hooks.fire(SAVED)

    assert told.wait(5)


def test_without_async_hooks_asyncio_is_not_even_imported() -> None:
    import subprocess
    import sys

    program = (
        "import sys, model_checkpoint.hooks as h; m = h.HookManager();"
        "m.register_hook('x', lambda c: None, ['on_run_end'], timeout=1); m.fire('on_run_end');"
        "assert 'asyncio' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_close_stops_the_loop_and_what_still_runs_on_it(hooks: HookManager) -> None:
    async def never(context: object) -> None:
        await asyncio.Event().wait()

    hooks.register_hook("never", never, [SAVED], timeout=0.01)
    hooks.fire(SAVED)
    hooks.close()
    for thread in threading.enumerate():
        if thread.name == "model-checkpoint-loop":
            thread.join(2)

    assert not [t for t in threading.enumerate() if t.name == "model-checkpoint-loop" and t.is_alive()]
