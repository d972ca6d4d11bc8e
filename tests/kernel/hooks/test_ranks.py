"""Several ranks: rank 0 decides, the others do as it says, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.errors import HookError, OperationVetoed
from model_checkpoint.hooks import HookEvent, HookManager
from model_checkpoint.kernel import Kernel

LIMIT_S = 20


class ThreadRanks:
    """Ranks of one process: each a thread, as a test needs them."""

    world_size = 2

    def __init__(self, rank: int, wire: queue.Queue[bytes]) -> None:
        self.rank, self._wire = rank, wire

    def broadcast(self, data: bytes | None) -> bytes:
        if data is None:
            return self._wire.get(timeout=LIMIT_S)
        self._wire.put(data)
        return data


def on_both(work: Callable[[HookManager], object], *managers: HookManager) -> list[object]:
    """Do `work` on both ranks at once; return what came of it, an error too."""
    wire: queue.Queue[bytes] = queue.Queue()
    results: list[object] = [None, None]

    def run(rank: int) -> None:
        managers[rank].ranks = ThreadRanks(rank, wire)
        try:
            results[rank] = work(managers[rank])
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert wire.empty()
    return results


def fire_save(hooks: HookManager, **fields: object) -> object:
    given: dict[str, object] = {"metrics": {"loss": 1.0}, "tags": {}, "metadata": {}, "options": {}, "state": {"x": 1}}
    return hooks.fire(HookEvent.BEFORE_CHECKPOINT_SAVE, **{**given, **fields}).context


@pytest.fixture
def ranks() -> tuple[HookManager, HookManager]:
    return HookManager(), HookManager()


def test_what_a_hook_of_rank_0_changes_is_changed_everywhere(ranks: tuple[HookManager, HookManager]) -> None:
    def change(context: object) -> dict[str, object]:
        context["metrics"]["f1"] = float("inf")  # type: ignore[index]
        return {"tags": {"stage": "dev"}, "metadata": {"pair": (1, 2)}}

    ranks[0].register_hook("change", change, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    for context in on_both(fire_save, *ranks):
        assert context.metrics == {"loss": 1.0, "f1": float("inf")}  # type: ignore[attr-defined]
        assert context.tags == {"stage": "dev"}  # type: ignore[attr-defined]
        assert context.metadata == {"pair": (1, 2)}  # type: ignore[attr-defined]
        assert context.state == {"x": 1}  # type: ignore[attr-defined]


def test_a_veto_of_rank_0_stops_all_and_the_other_ranks_are_not_asked(ranks: tuple[HookManager, HookManager]) -> None:
    asked: list[str] = []
    ranks[1].register_hook("mine", lambda context: asked.append("1"), [HookEvent.BEFORE_CHECKPOINT_SAVE])
    ranks[0].register_hook("guard", lambda context: context.veto("NaN"), [HookEvent.BEFORE_CHECKPOINT_SAVE])
    for error in on_both(fire_save, *ranks):
        assert isinstance(error, OperationVetoed)
        assert (error.event, error.plugin, error.reason) == ("before_checkpoint_save", "guard", "NaN")
    assert asked == []


def test_an_error_that_ends_the_operation_on_rank_0_ends_it_everywhere(ranks: tuple[HookManager, HookManager]) -> None:
    ranks[0].register_hook("bad", lambda context: 1 / 0, [HookEvent.BEFORE_CHECKPOINT_SAVE], on_error="abort")
    first, second = on_both(fire_save, *ranks)
    assert isinstance(first, ZeroDivisionError)
    assert isinstance(second, HookError)
    assert "rank 0: ZeroDivisionError: division by zero" in str(second)


@pytest.mark.parametrize("changed", [{"state": {"x": 2}}, {"options": {"open": open}}], ids=["live", "unsendable"])
def test_what_cannot_be_sent_is_an_error_everywhere(
    ranks: tuple[HookManager, HookManager], changed: dict[str, object]
) -> None:
    ranks[0].register_hook("change", lambda context: changed, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    first, second = on_both(fire_save, *ranks)
    assert isinstance(first, Exception)
    assert isinstance(second, HookError)


def test_other_events_are_each_ranks_own(ranks: tuple[HookManager, HookManager]) -> None:
    seen: list[int] = []
    ranks[1].register_hook("mine", lambda context: seen.append(1), [HookEvent.AFTER_CHECKPOINT_SAVE])
    on_both(lambda hooks: hooks.fire(HookEvent.AFTER_CHECKPOINT_SAVE) if hooks is ranks[1] else None, *ranks)
    assert seen == [1]


def test_it_is_the_same_from_async_code(ranks: tuple[HookManager, HookManager]) -> None:
    async def change(context: object) -> dict[str, object]:
        await asyncio.sleep(0)
        return {"backend": "memory"}

    async def fire(hooks: HookManager) -> object:
        return (await hooks.afire(HookEvent.BEFORE_CHECKPOINT_SAVE)).context

    ranks[0].register_hook("change", change, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    contexts = on_both(lambda hooks: asyncio.run(fire(hooks)), *ranks)
    assert [context.backend for context in contexts] == ["memory"] * 2  # type: ignore[attr-defined]
    for hooks in ranks:
        hooks.close()


def test_saves_of_two_kernels_are_decided_together(tmp_path: Path) -> None:
    wire: queue.Queue[bytes] = queue.Queue()
    saved: list[object] = [None, None]
    told: set[tuple[int, int]] = set()

    def train(rank: int) -> None:
        kernel = Kernel.open(
            f"sqlite:///{tmp_path / str(rank)}.db", checkpoint_dir=tmp_path / str(rank), quiet=True,
            ranks=ThreadRanks(rank, wire),
        )  # fmt: skip
        with kernel:
            if rank == 0:
                kernel.hooks.register_hook(
                    "score", lambda context: {"metrics": {"score": 0.5}}, [HookEvent.BEFORE_CHECKPOINT_SAVE]
                )
            kernel.hooks.register_hook(
                "told",
                lambda context: told.add((context.rank, context.world_size)),
                [HookEvent.AFTER_CHECKPOINT_SAVE],
            )
            with kernel.run("together"):
                saved[rank] = kernel.checkpoint(kernel.save({"x": [1]}, step=1)).metrics

    threads = [threading.Thread(target=train, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert saved == [{"score": 0.5}] * 2
    assert told == {(0, 2), (1, 2)}
