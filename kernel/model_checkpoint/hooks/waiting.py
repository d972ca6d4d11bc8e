"""Plugins that said which hooks they implement and are activated at the first of them.

Whoever asks for a hook by its name asks here first. Nothing stands in for a waiting plugin among pluggy's
implementations: once activated it takes the place in the order that was kept for it, wrappers included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

PLACES = 1_000
"""Numbers kept for a plugin's hooks; there are fewer than a hundred hooks."""


class Waiting:
    """Which plugins wait for which hook."""

    def __init__(self) -> None:
        self._by_hook: dict[str, dict[str, Callable[[], object]]] = {}
        self._places: dict[str, int] = {}

    def add(self, plugin: str, hooks: Iterable[str], activate: Callable[[], object], place: int) -> None:
        """Let `activate`, which may be called more than once, be called before any of `hooks` is."""
        self._places[plugin] = place
        for hook in hooks:
            self._by_hook[hook] = {**self._by_hook.get(hook, {}), plugin: activate}  # replaced: others may iterate

    def drop(self, plugin: str) -> None:
        """Wait no longer for a plugin; its place stays its own."""
        self._by_hook = {
            hook: rest
            for hook, plugins in self._by_hook.items()
            if (rest := {name: activate for name, activate in plugins.items() if name != plugin})
        }

    def place_of(self, plugin: str) -> int | None:
        """Return the first of the numbers that are kept for a plugin's hooks, or None."""
        return self._places.get(plugin)

    def hooks(self) -> set[str]:
        """Return the hooks that somebody waits for."""
        return set(self._by_hook)

    def ready(self, hook: str) -> None:
        """Activate whoever waits for `hook`."""
        for activate in self._by_hook.get(hook, {}).values():
            activate()
