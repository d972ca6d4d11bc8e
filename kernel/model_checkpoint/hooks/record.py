"""One hook as the manager knows it, from a function that somebody wrote to one that pluggy calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from model_checkpoint.hooks.stats import HookStats, Tally

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from model_checkpoint.hooks.marker import HookOptions

Kind = Literal["plain", "wrapper", "hookwrapper"]


@dataclass(slots=True, eq=False, repr=False)
class HookRecord:
    """One function on one event. Compared by identity."""

    plugin: str
    hook: str
    """The event, or the question that it answers."""
    function: Callable[..., Any]
    options: HookOptions
    order: tuple[int, int, int]
    """Priority, edge of its band (-1 first, 1 last), and number in the order of registration."""
    kind: Kind = "plain"
    is_async: bool = False
    home: AbstractEventLoop | None = None
    """The event loop on which an async hook was registered, if one was running."""
    conditions: tuple[Callable[[Any], object], ...] = ()
    enabled: bool = True
    """False once it is switched off: by hand, or in quarantine."""
    quarantined: bool = False
    tally: Tally = field(default_factory=Tally)

    @property
    def name(self) -> str:
        """The function's name as it was written."""
        return getattr(self.function, "__qualname__", None) or type(self.function).__name__

    def stats(self) -> HookStats:
        """Return what was counted of it."""
        return self.tally.line(self.plugin, self.hook, self.name, self.options.priority, quarantined=self.quarantined)


class Shell:
    """What pluggy keeps of a plugin: its adapters. Compared by identity, also where plugins are equal dataclasses."""

    def __init__(self, plugin: object, script: bool) -> None:
        self.plugin, self.script = plugin, script
        self.options: dict[str, dict[str, object]] = {}
