"""Turns a hook as it was written into the function that pluggy calls."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from model_checkpoint.hooks import guard
from model_checkpoint.hooks.specs import ANSWERS

if TYPE_CHECKING:
    from model_checkpoint.hooks.collect import Found
    from model_checkpoint.hooks.contexts import Context

WATCHING = frozenset({"before_plugin_execute", "after_plugin_execute"})
"""Events that fire around every call of a hook."""


def adapter_for(owner: guard.Owner, found: Found, kernel: object) -> Callable[..., object]:
    """Return the adapter: it takes ``context``, or what a question asks with, whatever the hook itself takes."""
    record = found.record
    if record.hook in ANSWERS:
        return guard.answering(owner, record, record.function, found.takes)
    call = _with_its_arguments(found, kernel)
    if record.hook in WATCHING:
        call = _for_other_plugins(record.plugin, call, wraps=record.kind != "plain")
    return guard.guarded(owner, record, call) if record.kind == "plain" else guard.guarded_wrapper(owner, record, call)


def _with_its_arguments(found: Found, kernel: object) -> Callable[[Context], Any]:
    """Return a function of the context alone; the hook's own function where that is what it is."""
    function, takes = found.record.function, found.takes
    if takes == ("context",) and (not found.by_name or _takes_context_first(function)):
        return function
    if not takes:
        return lambda context: function()
    if takes == ("context",):
        return lambda context: function(context=context)
    if takes == ("kernel",):
        return lambda context: function(kernel=kernel)
    if found.by_name:
        return lambda context: function(context=context, kernel=kernel)
    return lambda context: function(context, kernel=kernel)


def _for_other_plugins(plugin: str, call: Callable[[Context], Any], *, wraps: bool) -> Callable[[Context], Any]:
    """Leave a watcher out where its own plugin is watched."""

    def around_nothing() -> Generator[None, object, object]:
        return (yield)

    instead = around_nothing if wraps else lambda: None
    return lambda context: instead() if context.get("plugin") == plugin else call(context)


def _takes_context_first(function: Callable[..., object]) -> bool:
    plain = getattr(function, "__func__", function)
    code = getattr(plain, "__code__", None)
    if code is None or hasattr(function, "__wrapped__"):
        return False
    names = code.co_varnames[: code.co_argcount]
    return bool(names[1 if plain is not function else 0 :][:1] == ("context",))
