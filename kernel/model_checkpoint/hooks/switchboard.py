"""The part of a `HookManager` that looks at what is registered, and switches it on and off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

from model_checkpoint.hooks.order import arrange
from model_checkpoint.hooks.record import Shell

if TYPE_CHECKING:
    from pluggy import HookImpl

    from model_checkpoint.hooks.record import HookRecord
    from model_checkpoint.hooks.stats import HookStats


class Switchboard(pluggy.PluginManager):
    """Knows every hook by its plugin. The manager keeps the records."""

    _records: dict[str, dict[HookImpl, HookRecord]]
    _registry_lock: threading.RLock
    _refresh: Callable[[], None]

    def get_name(self, plugin: object) -> str | None:
        """Return the name that `plugin` itself, no equal one, is registered under, or None."""
        for name, shell in list(self._name2plugin.items()):
            if isinstance(shell, Shell) and (shell is plugin or shell.plugin is plugin):
                return name
        return None

    def is_registered_as(self, plugin: object, name: str) -> bool:
        """Say whether it is `plugin` itself that is registered under `name`, under whatever others it is too."""
        shell = self._name2plugin.get(name)
        return isinstance(shell, Shell) and shell.plugin is plugin

    def hooks_of(self, name: str) -> tuple[str, ...]:
        """Return the names of the hooks that a plugin implements, sorted."""
        with self._registry_lock:
            records = [record for known in self._records.values() for record in known.values()]
        return tuple(sorted({record.hook for record in records if record.plugin == name}))

    def stats(self) -> list[HookStats]:
        """Return what was counted of every hook, in the order of registration."""
        with self._registry_lock:
            records = [record for known in self._records.values() for record in known.values()]
        return [record.stats() for record in sorted(records, key=lambda record: record.order[2])]

    def enable(self, name: str) -> int:
        """Switch the hooks of a plugin on again, out of quarantine too; return how many."""
        return self._switch(name, enabled=True)

    def disable(self, name: str) -> int:
        """Switch the hooks of a plugin off, until `enable`; return how many."""
        return self._switch(name, enabled=False)

    def _switch(self, name: str, *, enabled: bool) -> int:
        with self._registry_lock:
            switched = 0
            for hook, known in self._records.items():
                for record in known.values():
                    if record.plugin == name and record.enabled != enabled:
                        record.enabled, record.quarantined, switched = enabled, False, switched + 1
                        record.tally.consecutive = record.tally.consecutive_timeouts = 0
                arrange(getattr(self.hook, hook), known)
            self._refresh()
            return switched

    def _switch_off(self, record: HookRecord) -> None:
        with self._registry_lock:
            record.enabled = False
            if record.hook in self._records:
                arrange(getattr(self.hook, record.hook), self._records[record.hook])
            self._refresh()
