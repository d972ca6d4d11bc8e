"""Finds the hooks in what a plugin registers: an object, a class, a module, or one function."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from model_checkpoint.errors import HookRegistrationError
from model_checkpoint.hooks import checks
from model_checkpoint.hooks.events import HookPriority
from model_checkpoint.hooks.marker import CONDITIONS, OPTIONS, HookOptions
from model_checkpoint.hooks.record import HookRecord, Kind
from model_checkpoint.hooks.specs import PROJECT

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_IMPL = f"{PROJECT}_impl"
_EDGE = {"tryfirst": (HookPriority.HIGH, -1), "trylast": (HookPriority.LOW, 1)}


class Found(NamedTuple):
    """A hook as it was written: what to call, and which of the hook's arguments it takes."""

    record: HookRecord
    takes: tuple[str, ...]
    by_name: bool
    """Arguments are passed by name; else the first one is the context, whatever it is called."""
    optional: bool = False
    """Where nothing of that name can be implemented it is left out, not refused."""


def found_in(plugin: object, name: str, arguments_of: Callable[[str], tuple[str, ...] | None]) -> list[Found]:
    """Return the hooks of an object. `arguments_of` gives the arguments of a hook, or None where there is no such hook.

    Raises ``HookRegistrationError`` or ``UnknownEventError`` for the first hook that cannot be.
    """
    found: list[Found] = []
    for attribute, static in _functions(plugin):
        impl = getattr(static, _IMPL, None)
        options = getattr(static, OPTIONS, None) or HookOptions()
        if isinstance(impl, dict):
            found.append(_native(plugin, name, attribute, impl, options, arguments_of))
        elif options.events:
            function = getattr(plugin, attribute)
            found += [for_event(name, event, function, options) for event in options.events]
    return found


def for_event(plugin: str, event: str, function: Callable[..., Any], options: HookOptions) -> Found:
    """Return a script's function as a hook on `event`. Raises ``HookRegistrationError``."""
    if not callable(function):
        raise HookRegistrationError(
            f"plugin {plugin!r}\nhook {event!r}\n{function!r} cannot be called: give a function"
        )
    checks.checked_options(options)
    context, kernel = checks.wanted_by_position(plugin, event, function)
    record = _record(plugin, event, function, options, "plain", (options.priority, 0))
    return Found(record, (("context",) if context else ()) + (("kernel",) if kernel else ()), by_name=False)


def _native(
    plugin: object,
    name: str,
    attribute: str,
    impl: dict[str, Any],
    options: HookOptions,
    arguments_of: Callable[[str], tuple[str, ...] | None],
) -> Found:
    function = getattr(plugin, attribute)
    hook = impl.get("specname") or attribute
    given = arguments_of(hook)
    kind: Kind = "wrapper" if impl.get("wrapper") else "hookwrapper" if impl.get("hookwrapper") else "plain"
    if given is None:
        if impl.get("optionalhook"):
            return Found(_record(name, hook, function, options, kind, (options.priority, 0)), (), True, optional=True)
        checks.checked_event(hook)  # raises, with the nearest name
    assert given is not None
    checks.checked_options(options)
    _check_kind(name, hook, function, kind)
    takes = checks.wanted_by_name(name, hook, function, given)
    edge = next((place for key, place in _EDGE.items() if impl.get(key)), (options.priority, 0))
    return Found(_record(name, hook, function, options, kind, edge), takes, by_name=True)


def _record(
    plugin: str, hook: str, function: Callable[..., Any], options: HookOptions, kind: Kind, place: tuple[int, int]
) -> HookRecord:
    conditions: tuple[Callable[[Any], object], ...] = getattr(function, CONDITIONS, ())
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  an object whose __call__ is async
    )
    priority = max(HookPriority.CRITICAL, min(place[0], HookPriority.BACKGROUND))
    return HookRecord(
        plugin, hook, function, options._replace(priority=priority), (priority, place[1], 0), kind,
        is_async=is_async, conditions=conditions, home=_loop_here() if is_async else None,
    )  # fmt: skip


def _loop_here() -> AbstractEventLoop | None:
    asyncio = sys.modules.get("asyncio")  # without it no loop runs, and importing it takes longer than all else here
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop() if asyncio else None
    return None


def _check_kind(plugin: str, hook: str, function: Callable[..., Any], kind: Kind) -> None:
    whole = inspect.unwrap(getattr(function, "__func__", function))
    if inspect.isasyncgenfunction(whole):
        raise checks.refuse(
            plugin, hook, function, "an async function that yields cannot be a hook: wrappers are plain generators"
        )
    yields = inspect.isgeneratorfunction(whole)
    if kind != "plain" and not yields:
        raise checks.refuse(
            plugin, hook, function, "a wrapper is a generator that yields exactly once; this one has no yield"
        )
    if kind == "plain" and yields:
        raise checks.refuse(plugin, hook, function, "it yields, so it would never run: mark it @hookimpl(wrapper=True)")


def _functions(plugin: object) -> Iterator[tuple[str, object]]:
    """Yield the functions of an object by name, without running properties."""
    for attribute in dir(plugin):
        if attribute.startswith("__"):
            continue
        static = inspect.getattr_static(plugin, attribute, None)
        if isinstance(static, staticmethod | classmethod):
            static = static if hasattr(static, _IMPL) else static.__func__
        if inspect.isroutine(static) or isinstance(static, staticmethod | classmethod):
            yield attribute, static
