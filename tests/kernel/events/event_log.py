"""Keeps the contexts of events as they come, and checks them one after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_checkpoint.hooks import HookEvent
from model_checkpoint.hooks.contexts import COMMON, Context
from model_checkpoint.hooks.specs import EVENTS
from model_checkpoint.kernel import hookimpl

EXECUTION = {"before_plugin_execute", "after_plugin_execute"}
Check = Callable[[Any], bool]


def watcher(seen: list[Context], events: set[str]) -> object:
    """Return a plugin that keeps the contexts of `events`."""

    hooks = {name: hookimpl(specname=name)(lambda self, context: seen.append(context)) for name in events}
    return type("Watcher", (), {**hooks, "name": "watcher"})()


class Log:
    """The contexts that came, taken from the front one after another."""

    def __init__(self, seen: list[Context]) -> None:
        self.seen = seen

    def names(self) -> list[str]:
        return [context.event.value for context in self.seen]

    def take(self, event: str, run: Any = None, checkpoint: str | None = None, **fields: object) -> Context:
        """Take the next context, which must be of `event`, and check every field: a value, or a function of it."""
        context = self.seen.pop(0)
        assert context.event.value == event, (context, self.names())
        own = {field.name for field in EVENTS[event].fields} - set(COMMON)
        assert own == set(fields) - set(COMMON), f"fields of {event} that nobody checked, or that it does not have"
        for name, expected in fields.items():
            value = getattr(context, name)
            if callable(expected):
                assert expected(value), (event, name, value)
            else:
                assert value == expected, (event, name, value)
        assert context.event is HookEvent(event)
        assert abs(time.time() - context.time) < 60
        if run is not None:
            assert (context.run_id, context.run_name, context.experiment_id) == (run.id, run.name, run.experiment_id)
        if checkpoint is not None:
            assert context.checkpoint_id == checkpoint
        return context

    def operation(self, *contexts: Context) -> None:
        """Check that events are of one operation."""
        first = contexts[0]
        for context in contexts:
            assert context.operation_id == first.operation_id != ""
            assert context.user_data is first.user_data
            assert (context.rank, context.world_size, context.origin) == (0, 1, "script")


def positive(value: Any) -> bool:
    return isinstance(value, float | int) and value > 0


def anything(value: Any) -> bool:
    return True


def empty(value: Any) -> bool:
    return value is None


def is_file(value: Any) -> bool:
    return isinstance(value, Path) and value.is_file()


def is_error(kind: type[BaseException]) -> Check:
    return lambda value: isinstance(value, kind)


PLUGINS = {"before_plugin_load", "after_plugin_load", "after_plugin_unload"}
HIGH_LEVEL = set(EVENTS) - EXECUTION - {"before_db_write", "after_db_write", *PLUGINS}
