"""What is wrong with a hook is told at registration: events, options and signatures."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from model_checkpoint.errors import HookRegistrationError, UnknownEventError
from model_checkpoint.hooks.events import HookEvent, HookPriority

if TYPE_CHECKING:
    from model_checkpoint.hooks.marker import HookOptions


def checked_event(event: object) -> HookEvent:
    """Return the event that a name or a member means. Raises ``UnknownEventError`` that offers the nearest."""
    if isinstance(event, HookEvent):
        return event
    known = [each.value for each in HookEvent]
    if isinstance(event, str):
        name = event.lower()
        if name in known:
            return HookEvent(name)
        from difflib import get_close_matches

        near = get_close_matches(name, known, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else "the events are the members of model_checkpoint.hooks.HookEvent"
        )
        raise UnknownEventError(f"there is no event {event!r}; {hint}")
    raise UnknownEventError(f"an event is a HookEvent or its name, not {event!r}")


def checked_events(events: Iterable[HookEvent | str] | HookEvent | str) -> tuple[HookEvent, ...]:
    """Return the events, each once. Raises ``UnknownEventError``, also where there is none."""
    if not isinstance(events, Iterable):
        raise UnknownEventError(f"an event is a HookEvent or its name, not {events!r}")
    given = [events] if isinstance(events, str) else list(events)
    if not given:
        raise UnknownEventError("no event is named: give at least one, such as [HookEvent.AFTER_CHECKPOINT_SAVE]")
    return tuple(dict.fromkeys(checked_event(event) for event in given))


def checked_options(options: HookOptions) -> None:
    """Raise ``HookRegistrationError`` where priority, timeout or on_error cannot be."""
    if not isinstance(options.priority, int) or isinstance(options.priority, bool):
        raise HookRegistrationError(f"priority={options.priority!r} is not a HookPriority or an int from 0 to 100")
    if not HookPriority.CRITICAL <= options.priority <= HookPriority.BACKGROUND:
        raise HookRegistrationError(f"priority={options.priority} is not between 0 (CRITICAL) and 100 (BACKGROUND)")
    timeout_s = options.timeout_s
    if timeout_s is not None and (
        isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not timeout_s > 0
    ):
        raise HookRegistrationError(f"timeout={timeout_s!r} is not a number of seconds greater than 0, such as 0.5")
    if options.on_error not in ("isolate", "abort"):
        raise HookRegistrationError(f"on_error={options.on_error!r} is not known: use 'isolate' or 'abort'")


def definition(function: Callable[..., object]) -> str:
    """Return where and how a function is written, for messages."""
    name = getattr(function, "__qualname__", None) or repr(function)
    try:
        shown = f"{name}{inspect.signature(function)}"
    except (TypeError, ValueError):
        shown = str(name)
    code = getattr(inspect.unwrap(function), "__code__", None)
    return shown if code is None else f"{shown} in {os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def refuse(plugin: str, hook: str, function: Callable[..., object], why: str) -> HookRegistrationError:
    """Return the error for a hook that can never be called as it is written."""
    return HookRegistrationError(f"plugin {plugin!r}\nhook {hook!r}\ndefinition: {definition(function)}\n{why}")


def wanted_by_name(plugin: str, hook: str, function: Callable[..., object], given: Sequence[str]) -> tuple[str, ...]:
    """Return which of the arguments `given` a hookimpl takes. Raises ``HookRegistrationError`` for any other."""
    wanted = []
    for parameter in _parameters(function) or ():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in given:
            wanted.append(parameter.name)
        elif parameter.default is parameter.empty:
            hint = "its class is registered: register an instance of it" if parameter.name == "self" else (
                f"the argument {parameter.name!r} is not among those of this hook: {', '.join(given)}"
            )  # fmt: skip
            raise refuse(plugin, hook, function, hint)
    return tuple(wanted)


def wanted_by_position(plugin: str, hook: str, function: Callable[..., object]) -> tuple[bool, bool]:
    """Return whether a script's function takes the context, whatever it calls it, and ``kernel``.

    Raises ``HookRegistrationError`` where it needs more than these.
    """
    parameters = _parameters(function)
    if parameters is None:  # written in C, with no signature to read
        return True, False
    takes_kernel = any(p.name == "kernel" and p.kind is not p.VAR_KEYWORD for p in parameters)
    others = [p for p in parameters if p.name != "kernel"]
    positional = [p for p in others if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    needed = [p for p in positional[1:] if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    needed += [p for p in others if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if needed:
        names = ", ".join(repr(p.name) for p in needed)
        raise refuse(plugin, hook, function, f"it also needs {names}: a hook is called with the context alone")
    return bool(positional), takes_kernel


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
