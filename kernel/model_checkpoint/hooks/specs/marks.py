"""How a hookspec is marked, and the table that the marks fill.

The fields of an event's context are written as they are in Python, with a star behind the name of those that a hook may
change::

    @event("epoch: int | None, metrics*: dict[str, float]", veto=True)
    def before_checkpoint_save(context, kernel=None): ...

They are read when the event is first used; until then they are one string. Values are named tuples, here and in all of
`hooks`: defining a frozen dataclass takes ten times as long, and every training script waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import pluggy

PROJECT = "model_checkpoint"
F = TypeVar("F", bound=Callable[..., object])
_hookspec = pluggy.HookspecMarker(PROJECT)


class FieldSpec(NamedTuple):
    """One field of an event's context."""

    name: str
    type: str
    writable: bool
    """Whether a hook may change it."""


class EventSpec(NamedTuple):
    """What is declared of one event."""

    name: str
    raw_fields: str
    veto: bool
    """A hook may stop the operation."""
    hot: bool
    """The call site asks first whether anybody listens."""
    historic: bool
    """A plugin that registers later still gets it."""
    summary: str

    @property
    def fields(self) -> tuple[FieldSpec, ...]:
        """The fields that this event has beyond those of every event."""
        return tuple(_field(part) for part in split_outside_brackets(self.raw_fields, ","))


EVENTS: dict[str, EventSpec] = {}
"""Every event's declaration, by name, in the order of the pages."""
ANSWERS: set[str] = set()
"""Hooks that are asked for something: registration hooks and decision hooks. Their errors are not swallowed."""


def event(fields: str = "", *, veto: bool = False, hot: bool = False, historic: bool = False) -> Callable[[F], F]:
    """Mark the hookspec of an event."""

    def mark(function: F) -> F:
        name = function.__name__
        EVENTS[name] = EventSpec(name, fields, veto, hot, historic, (function.__doc__ or "").strip())
        return _hookspec(function, historic=historic)

    return mark


def answer(function: F) -> F:
    """Mark the hookspec of a registration hook: every plugin is asked by itself."""
    ANSWERS.add(function.__name__)
    return _hookspec(function)


def decision(function: F) -> F:
    """Mark the hookspec of a decision hook: the first answer that is not None counts."""
    ANSWERS.add(function.__name__)
    return _hookspec(function, firstresult=True)


def _field(part: str) -> FieldSpec:
    name, _, kind = part.partition(":")
    name = name.strip()
    return FieldSpec(name.rstrip("*"), kind.strip() or "object", name.endswith("*"))


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split at every `separator`, one character, that stands outside brackets."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == separator and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part for part in (*parts, current) if part.strip()]
