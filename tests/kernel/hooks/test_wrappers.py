"""Wrappers stand around the plain hooks of an event, and a broken one spoils nothing."""

from __future__ import annotations

import pytest

from model_checkpoint.errors import OperationVetoed
from model_checkpoint.hooks import HookEvent, HookManager, HookPriority, hookimpl

SAVE = HookEvent.BEFORE_CHECKPOINT_SAVE


@pytest.fixture
def hooks() -> HookManager:
    return HookManager()


def errors_told(hooks: HookManager) -> list[object]:
    told: list[object] = []
    hooks.register_hook("told", told.append, [HookEvent.ON_PLUGIN_ERROR])
    return told


def test_wrappers_stand_outside_plain_hooks_and_inside_wrappers_of_lower_number(hooks: HookManager) -> None:
    seen: list[str] = []

    def wrapper(name: str, priority: int) -> object:
        class Plugin:
            @hookimpl(wrapper=True, priority=priority)
            def before_checkpoint_save(self, context: object) -> object:
                seen.append(f"{name} in")
                results = yield
                seen.append(f"{name} out")
                return [*results, name]

        return Plugin()

    hooks.register_hook("plain", lambda context: seen.append("plain") or "value", [SAVE], priority=0)
    hooks.register(wrapper("inner", HookPriority.LOW), "inner")
    hooks.register(wrapper("outer", HookPriority.HIGH), "outer")

    assert hooks.fire(SAVE).results == ("value", "inner", "outer")
    assert seen == ["outer in", "inner in", "plain", "inner out", "outer out"]


class BrokenWrappers:
    @hookimpl(wrapper=True)
    def before_checkpoint_save(self) -> object:
        raise ValueError("set-up")
        yield

    @hookimpl(wrapper=True)
    def before_checkpoint_load(self) -> object:
        yield
        raise ValueError("clean-up")

    @hookimpl(wrapper=True)
    def before_integrity_check(self) -> object:
        yield
        yield

    @hookimpl(wrapper=True)
    def before_checkpoint_delete(self) -> object:
        if False:
            yield
        return None


@pytest.mark.parametrize(
    "event",
    [SAVE, HookEvent.BEFORE_CHECKPOINT_LOAD, HookEvent.BEFORE_INTEGRITY_CHECK, HookEvent.BEFORE_CHECKPOINT_DELETE],
)
def test_a_broken_wrapper_is_isolated_and_changes_no_result(hooks: HookManager, event: HookEvent) -> None:
    told = errors_told(hooks)
    hooks.register(BrokenWrappers(), "broken")
    hooks.register_hook("plain", lambda context: "value", [event])

    assert hooks.fire(event).results == ("value",)
    assert [t.plugin for t in told] == ["broken"]  # type: ignore[attr-defined]


def test_a_wrapper_sees_a_veto_and_an_old_style_one_its_result(hooks: HookManager) -> None:
    seen: list[object] = []

    class Wrappers:
        @hookimpl(wrapper=True)
        def before_checkpoint_save(self) -> object:
            try:
                return (yield)
            except OperationVetoed as veto:
                seen.append(veto.plugin)
                raise

        @hookimpl(hookwrapper=True)
        def before_checkpoint_load(self) -> object:
            outcome = yield
            seen.append(outcome.get_result())
            outcome.force_result(["forced"])

    hooks.register(Wrappers(), "wrappers")
    hooks.register_hook("no", lambda context: False, [SAVE])
    hooks.register_hook("yes", lambda context: "yes", [HookEvent.BEFORE_CHECKPOINT_LOAD])
    with pytest.raises(OperationVetoed):
        hooks.fire(SAVE)

    assert hooks.fire(HookEvent.BEFORE_CHECKPOINT_LOAD).results == ("forced",)
    assert seen == ["no", ["yes"]]


def test_a_wrapper_may_watch_the_calls_of_other_plugins_and_never_its_own(hooks: HookManager) -> None:
    seen: list[str] = []

    class Watches:
        @hookimpl(wrapper=True)
        def before_plugin_execute(self, context: object) -> object:
            seen.append(context.plugin)  # type: ignore[attr-defined]
            return (yield)

        @hookimpl
        def on_run_end(self) -> None:
            seen.append("own")

    hooks.register(Watches(), "watches")
    hooks.register_hook("other", lambda context: None, [HookEvent.ON_RUN_END])
    told = errors_told(hooks)
    hooks.fire(HookEvent.ON_RUN_END)
    assert seen == ["own", "other"]
    assert told == []
