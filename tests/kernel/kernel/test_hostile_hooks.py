"""Hooks that misbehave in a real training: none of them ends it, stops it, or takes the blame to somebody else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager, VetoedSaveWarning
from model_checkpoint.errors import ContextFieldError, KernelError, OperationVetoed
from model_checkpoint.hooks import HookEvent, HookPriority
from model_checkpoint.kernel import Kernel

SAVE, SAVED = HookEvent.BEFORE_CHECKPOINT_SAVE, HookEvent.AFTER_CHECKPOINT_SAVE


class Stop(BaseException):
    """What a library may raise."""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[EnhancedCheckpointManager]:
    made = EnhancedCheckpointManager(f"sqlite:///{tmp_path}/e.db", storage_backend="memory", experiment="s", quiet=True)
    yield made
    made.close()


def errors_told(manager: EnhancedCheckpointManager) -> list[object]:
    told: list[object] = []
    manager.register_hook("told", told.append, HookEvent.ON_PLUGIN_ERROR)
    return told


@pytest.mark.parametrize("error", [asyncio.CancelledError, Stop, SystemExit], ids=lambda error: error.__name__)
@pytest.mark.parametrize("event", [SAVE, SAVED, HookEvent.ON_RUN_END, HookEvent.ON_SYSTEM_SHUTDOWN], ids=str)
@pytest.mark.parametrize("options", [{}, {"timeout": 5.0}, {"priority": HookPriority.BACKGROUND}], ids=str)
def test_no_exception_of_a_hook_ends_a_training_or_stops_it(
    manager: EnhancedCheckpointManager, error: type[BaseException], event: HookEvent, options: dict[str, object]
) -> None:
    def hook(context: object) -> None:
        raise error("x")

    told = errors_told(manager)
    manager.register_hook("hook", hook, event, **options)  # type: ignore[arg-type]
    assert manager.save_checkpoint(state={"w": 1}) is not None
    assert manager.save_checkpoint(state={"w": 2}) is not None
    assert manager.kernel.flush(5)
    manager.close()
    assert {type(t.error) for t in told} == {error}  # type: ignore[attr-defined]


def test_an_async_hook_that_calls_exit_is_isolated_and_the_next_one_runs(manager: EnhancedCheckpointManager) -> None:
    seen: list[str] = []

    async def leaves(context: object) -> None:
        sys.exit(2)

    async def next_one(context: object) -> None:
        seen.append("next")

    told = errors_told(manager)
    manager.register_hook("leaves", leaves, SAVE)
    manager.register_hook("next", next_one, SAVE)
    manager.save_checkpoint(state={"w": 1})
    manager.save_checkpoint(state={"w": 2})

    assert [type(t.error) for t in told] == [SystemExit, SystemExit]  # type: ignore[attr-defined]
    assert seen == ["next", "next"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("event", [SAVE, HookEvent.ON_RUN_END], ids=str)
@pytest.mark.parametrize("kind", ["async", "timed"])
def test_a_hook_on_its_own_thread_that_saves_is_refused_and_nothing_waits_for_ever(
    manager: EnhancedCheckpointManager, event: HookEvent, kind: str
) -> None:
    def save(context: object) -> None:
        manager.save_checkpoint(state={"n": 1})

    async def save_async(context: object) -> None:
        save(context)

    told = errors_told(manager)
    if kind == "async":
        manager.register_hook("saves", save_async, event)
    else:
        manager.register_hook("saves", save, event, timeout=20.0)
    assert manager.save_checkpoint(state={"w": 1}) is not None
    manager.close()

    assert [type(t.error) for t in told] == [KernelError]  # type: ignore[attr-defined]
    assert "priority=BACKGROUND" in str(told[0].error)  # type: ignore[attr-defined]


def test_a_background_hook_may_save(manager: EnhancedCheckpointManager) -> None:
    saved: list[object] = []

    def save(context: object) -> None:
        if not saved:
            saved.append(None)
            saved[0] = manager.save_checkpoint(state={"n": 1})

    manager.register_hook("saves", save, SAVED, priority=HookPriority.BACKGROUND)
    manager.save_checkpoint(state={"w": 1})
    assert manager.kernel.flush(5)
    assert saved[0] is not None


@pytest.mark.parametrize(
    "changes",
    [{"metrics": {"note": "x"}}, {"tags": 5}, {"state": 5}, {"metadata": None}, {"backend": 3}, {"tags": {"a": 1}}],
    ids=str,
)
def test_a_change_that_a_field_does_not_take_is_the_hooks_error_and_the_save_goes_on(
    manager: EnhancedCheckpointManager, changes: dict[str, object]
) -> None:
    told = errors_told(manager)
    manager.register_hook("wrong", lambda context: changes, SAVE)
    saved = manager.save_checkpoint(state={"w": 1}, val_loss=0.5)

    assert saved is not None
    assert manager.load_checkpoint(saved)["w"] == 1
    (error,) = told
    assert (error.plugin, type(error.error)) == ("wrong", ContextFieldError)  # type: ignore[attr-defined]
    assert f"'{next(iter(changes))}' of the context of before_checkpoint_save takes" in str(error.error)  # type: ignore[attr-defined]


@pytest.mark.parametrize("changes", [{"value": "abc"}, {"metric_name": 5}, {"tags": 5}], ids=str)
def test_so_it_is_with_metrics(manager: EnhancedCheckpointManager, changes: dict[str, object]) -> None:
    manager.register_hook("wrong", lambda context: changes, HookEvent.BEFORE_METRIC_COLLECTION)
    manager.begin_run()
    manager.kernel.log_metrics({"loss": 0.5}, step=1)

    assert manager.kernel.aggregated_metrics()["loss"].last == 0.5


def test_a_vetoed_save_warns_and_returns_none_and_a_vetoed_run_is_refused(manager: EnhancedCheckpointManager) -> None:
    manager.register_hook("no", lambda context: False, [SAVE, HookEvent.ON_RUN_START])
    with pytest.raises(OperationVetoed, match="on_run_start"):
        manager.save_checkpoint(state={"w": 1})
    manager.register_hook("no", lambda context: False, SAVE)
    with pytest.warns(VetoedSaveWarning, match="before_checkpoint_save"):
        assert manager.save_checkpoint(state={"w": 1}) is None


def test_a_plugin_of_the_engine_is_not_taken_out_as_a_scripts_hook(manager: EnhancedCheckpointManager) -> None:
    assert not manager.hook_manager.unregister_hook("sqlite")
    assert manager.hook_manager.has_plugin("sqlite")


@pytest.mark.parametrize("thing", [5, object()], ids=["int", "object"])
def test_what_has_no_hooks_is_no_plugin(tmp_path: Path, thing: object) -> None:
    from model_checkpoint.errors import PluginLoadError

    with pytest.raises(PluginLoadError, match="has no hooks"):
        Kernel.open(f"sqlite:///{tmp_path}/e.db", register=[thing], quiet=True)
