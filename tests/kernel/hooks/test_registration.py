"""Three ways in, all the same; and what is wrong is told at once."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pluggy
import pytest

from model_checkpoint.errors import HookRegistrationError, UnknownEventError
from model_checkpoint.hooks import (
    BaseHook,
    HookEvent,
    HookManager,
    HookPriority,
    async_hook_handler,
    conditional_hook,
    hook_handler,
    hookimpl,
)

SAVED = HookEvent.AFTER_CHECKPOINT_SAVE


@pytest.fixture
def hooks() -> HookManager:
    return HookManager(kernel="the kernel")


def test_a_function_an_object_and_a_plugin_are_called_alike(hooks: HookManager) -> None:
    seen: list[str] = []

    class Handlers(BaseHook):
        @hook_handler([SAVED])
        def saved(self, context: object) -> None:
            seen.append("object")

    class Plugin:
        @hookimpl
        def after_checkpoint_save(self, context: object, kernel: object) -> None:
            seen.append(f"plugin of {kernel}")

    hooks.register_hook("function", lambda context: seen.append("function"), [SAVED])
    hooks.register_object_hooks(Handlers())
    hooks.register(Plugin(), "plugin")
    hooks.fire(SAVED)
    hooks.hook.after_checkpoint_save(context=hooks.fire(HookEvent.ON_RUN_END).context)

    assert seen == ["function", "object", "plugin of the kernel"] * 2


def test_a_hook_takes_the_arguments_it_wants(hooks: HookManager) -> None:
    seen: list[object] = []
    hooks.register_hook("none", lambda: seen.append(()), [SAVED])
    hooks.register_hook("one", lambda anything: seen.append(anything.event), [SAVED])
    hooks.register_hook("both", lambda ctx, kernel: seen.append(kernel), [SAVED])
    hooks.register_hook("keyword", lambda *, kernel: seen.append(kernel * 2), [SAVED])
    hooks.register_hook("any", lambda *args, **kwargs: seen.append(len(args)), [SAVED])
    hooks.register_hook("builtin", seen.append, [SAVED])

    class Native:
        @hookimpl
        def after_checkpoint_save(self, kernel: object, context: object) -> None:
            seen.append((kernel, context.event))  # type: ignore[attr-defined]

    hooks.register(Native(), "native")
    report = hooks.fire(SAVED)

    assert seen == [(), SAVED, "the kernel", "the kernelthe kernel", 1, report.context, ("the kernel", SAVED)]


def test_a_native_hook_with_a_wrong_argument_is_refused_with_its_definition(hooks: HookManager) -> None:
    class Wrong:
        @hookimpl
        def after_checkpoint_save(self, ctx: object) -> None: ...

    with pytest.raises(HookRegistrationError) as refused:
        hooks.register(Wrong(), "wrong")
    text = str(refused.value)
    assert "plugin 'wrong'" in text
    assert "hook 'after_checkpoint_save'" in text
    assert "test_registration.py:" in text
    assert "argument 'ctx' is not among those of this hook: context, kernel" in text
    assert not hooks.has_plugin("wrong")


def test_a_class_instead_of_an_object_is_refused_in_words(hooks: HookManager) -> None:
    class Plugin:
        @hookimpl
        def after_checkpoint_save(self, context: object) -> None: ...

    with pytest.raises(HookRegistrationError, match="register an instance"):
        hooks.register(Plugin)


def test_a_script_hook_that_needs_more_than_the_context_is_refused(hooks: HookManager) -> None:
    with pytest.raises(HookRegistrationError, match="it also needs 'other'"):
        hooks.register_hook("more", lambda context, other: None, [SAVED])
    with pytest.raises(HookRegistrationError, match="cannot be called"):
        hooks.register_hook("no function", 3, [SAVED])  # type: ignore[arg-type]


@pytest.mark.parametrize("event", ["after_checkpoint_saved", "AFTER_CHECKPOINT_SAV"])
def test_an_unknown_event_offers_the_nearest(hooks: HookManager, event: str) -> None:
    with pytest.raises(UnknownEventError, match="did you mean 'after_checkpoint_save'"):
        hooks.register_hook("x", lambda context: None, [event])
    with pytest.raises(UnknownEventError):
        hook_handler([event])
    with pytest.raises(UnknownEventError):
        hooks.fire(event)

    class Misspelt:
        @hookimpl
        def after_checkpoint_saved(self, context: object) -> None: ...

    with pytest.raises(UnknownEventError, match="did you mean 'after_checkpoint_save'"):
        hooks.register(Misspelt())


@pytest.mark.parametrize("events", [[], [3], None])
def test_no_event_or_something_else_is_refused(hooks: HookManager, events: object) -> None:
    with pytest.raises((UnknownEventError, TypeError)):
        hooks.register_hook("x", lambda context: None, events)  # type: ignore[arg-type]


def test_events_may_be_named_by_text_alone_and_twice(hooks: HookManager) -> None:
    seen: list[object] = []
    hooks.register_hook("x", seen.append, "after_checkpoint_save")
    hooks.register_hook("y", seen.append, [SAVED, "AFTER_CHECKPOINT_SAVE"])
    hooks.fire(SAVED)

    assert len(seen) == 2


@pytest.mark.parametrize(
    "options",
    [{"priority": -1}, {"priority": 101}, {"priority": "high"}, {"timeout": 0}, {"timeout": "1"}, {"timeout": True},
     {"on_error": "ignore"}, {"condition": 3}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(hooks: HookManager, options: dict[str, object]) -> None:
    with pytest.raises(HookRegistrationError, match=next(iter(options))):
        hooks.register_hook("x", lambda context: None, [SAVED], **options)  # type: ignore[arg-type]
    assert hooks.stats() == []


def test_registering_a_name_again_replaces_it(hooks: HookManager) -> None:
    seen: list[int] = []
    for n in range(3):
        hooks.register_hook("cell", lambda context, n=n: seen.append(n), [SAVED])
    hooks.fire(SAVED)

    assert seen == [2]
    assert hooks.unregister_hook("cell")
    assert not hooks.unregister_hook("cell")
    hooks.fire(SAVED)
    assert seen == [2]


def test_a_refused_replacement_leaves_the_hook_before(hooks: HookManager) -> None:
    seen: list[object] = []
    hooks.register_hook("cell", seen.append, [SAVED])
    with pytest.raises(HookRegistrationError):
        hooks.register_hook("cell", lambda context, other: None, [SAVED])
    hooks.fire(SAVED)

    assert len(seen) == 1


def test_a_script_cannot_take_the_name_of_a_plugin(hooks: HookManager) -> None:
    class Plugin:
        @hookimpl
        def on_run_end(self) -> None: ...

    hooks.register(Plugin(), "sqlite")
    with pytest.raises(HookRegistrationError, match="belongs to a plugin"):
        hooks.register_hook("sqlite", lambda context: None, [SAVED])


def test_plugins_that_are_equal_are_still_two(hooks: HookManager) -> None:
    seen: list[int] = []

    @dataclass
    class Equal:
        @hookimpl
        def on_run_end(self) -> None:
            seen.append(id(self))

    one, two = Equal(), Equal()
    hooks.register(one, "one")
    hooks.register(two, "two")
    hooks.fire(HookEvent.ON_RUN_END)
    assert seen == [id(one), id(two)]
    hooks.unregister(two)
    assert (hooks.get_name(one), hooks.get_name(two)) == ("one", None)


def test_an_object_without_hooks_is_refused(hooks: HookManager) -> None:
    with pytest.raises(HookRegistrationError, match="has no hooks"):
        hooks.register_object_hooks(BaseHook())


def test_one_object_may_have_several_handlers_of_one_event_and_one_handler_several_events(hooks: HookManager) -> None:
    seen: list[str] = []

    class Many(BaseHook):
        @hook_handler([SAVED, HookEvent.ON_RUN_END])
        def first(self, context: object) -> None:
            seen.append(f"first {context.event}")  # type: ignore[attr-defined]

        @hook_handler(SAVED, priority=HookPriority.HIGH)
        def second(self, context: object) -> None:
            seen.append("second")

        @property
        def fragile(self) -> object:
            raise AssertionError("properties are not run")

    assert hooks.register_object_hooks(Many()) == "Many"
    hooks.fire(SAVED)
    hooks.fire(HookEvent.ON_RUN_END)

    assert seen == ["second", "first after_checkpoint_save", "first on_run_end"]


def test_marks_may_stand_in_either_order_and_work_on_functions_and_methods(hooks: HookManager) -> None:
    seen: list[str] = []

    @conditional_hook(lambda context: context.epoch == 1)
    @conditional_hook(lambda context: context.step != 3)
    def function(context: object) -> None:
        seen.append("function")

    class Both(BaseHook):
        @conditional_hook(lambda context: context.epoch == 1)
        @hook_handler([SAVED])
        def one(self, context: object) -> None:
            seen.append("one")

        @hook_handler([SAVED])
        @conditional_hook(lambda context: context.epoch == 1)
        def two(self, context: object) -> None:
            seen.append("two")

        @hookimpl
        @conditional_hook(lambda context: context.epoch == 1)
        def after_checkpoint_save(self, context: object) -> None:
            seen.append("native")

    hooks.register_hook("function", function, [SAVED], condition=lambda context: context.loss is None)
    hooks.register_object_hooks(Both())
    hooks.fire(SAVED, epoch=2)
    assert seen == []
    hooks.fire(SAVED, epoch=1)
    assert sorted(seen) == ["function", "native", "one", "two"]
    hooks.fire(SAVED, epoch=1, step=3)
    assert seen.count("function") == 1
    assert {line.skipped for line in hooks.stats()} == {1, 2}


def test_a_function_wrapped_by_others_keeps_its_own_arguments(hooks: HookManager) -> None:
    seen: list[object] = []

    def f(ctx: object) -> None:
        seen.append(ctx)

    @functools.wraps(f)
    def wrapped(*args: object) -> None:
        f(*args)

    hooks.register_hook("wrapped", wrapped, [SAVED])
    hooks.register_hook("partial", functools.partial(lambda extra, context: seen.append(extra), "extra"), [SAVED])
    report = hooks.fire(SAVED)

    assert seen == [report.context, "extra"]


def test_marks_of_plain_pluggy_work_too(hooks: HookManager) -> None:
    seen: list[object] = []

    class Plain:
        @pluggy.HookimplMarker("model_checkpoint")
        def on_run_end(self, context: object) -> None:
            seen.append(context)

    hooks.register(Plain())
    hooks.fire(HookEvent.ON_RUN_END)

    assert len(seen) == 1


def test_a_generator_without_the_mark_of_a_wrapper_and_the_reverse_are_refused(hooks: HookManager) -> None:
    class Forgotten:
        @hookimpl
        def on_run_end(self) -> object:
            yield

    class NoWrapper:
        @hookimpl(wrapper=True)
        def on_run_end(self) -> None: ...

    class AsyncWrapper:
        @hookimpl(wrapper=True)
        async def on_run_end(self) -> object:  # type: ignore[misc]
            yield

    with pytest.raises(HookRegistrationError, match="wrapper=True"):
        hooks.register(Forgotten())
    with pytest.raises(HookRegistrationError, match="no yield"):
        hooks.register(NoWrapper())
    with pytest.raises(HookRegistrationError, match="async"):
        hooks.register(AsyncWrapper())


def test_a_wrapper_of_a_historic_event_is_refused(hooks: HookManager) -> None:
    class Wrapper:
        @hookimpl(wrapper=True)
        def on_system_start(self) -> object:
            yield

    with pytest.raises(HookRegistrationError, match="historic"):
        hooks.register(Wrapper())
    assert hooks.stats() == []


def test_async_hook_handler_is_for_async_functions() -> None:
    with pytest.raises(HookRegistrationError, match="async def"):

        @async_hook_handler([SAVED])
        def plain(context: object) -> None: ...


def test_an_optional_hook_of_another_version_is_left_out(hooks: HookManager) -> None:
    class Future:
        @hookimpl(optionalhook=True)
        def on_teleport(self) -> None: ...

    hooks.register(Future(), "future")
    assert hooks.hooks_of("future") == ()


def test_a_plugin_that_registers_late_still_gets_the_historic_start(hooks: HookManager) -> None:
    seen: list[object] = []
    hooks.fire(HookEvent.ON_SYSTEM_START, kernel_version="1")
    hooks.register_hook("late", lambda context: seen.append(context.kernel_version), [HookEvent.ON_SYSTEM_START])

    assert seen == ["1"]


def test_registering_from_within_a_hook_takes_effect_at_the_next_call(hooks: HookManager) -> None:
    seen: list[str] = []

    def once(context: object) -> None:
        hooks.unregister_hook("once")
        hooks.register_hook("next", lambda context: seen.append("next"), [SAVED])
        seen.append("once")

    hooks.register_hook("once", once, [SAVED])
    hooks.fire(SAVED)
    hooks.fire(SAVED)

    assert seen == ["once", "next"]
