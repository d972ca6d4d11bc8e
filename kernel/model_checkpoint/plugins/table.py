"""The part of a `PluginSet` that looks at the plugins there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_checkpoint.errors import PluginError
from model_checkpoint.plugins.info import PluginInfo
from model_checkpoint.plugins.policy import PluginState

if TYPE_CHECKING:
    from model_checkpoint.hooks import HookManager
    from model_checkpoint.plugins.activation import Plugin
    from model_checkpoint.plugins.registry import Provided
    from model_checkpoint.plugins.states import PluginStates


class PluginTable:
    """Knows every plugin by its name, in the order of loading. The set keeps them."""

    provided: Provided
    _plugins: dict[str, Plugin]
    _hooks: HookManager
    _states: PluginStates

    def list(self) -> list[PluginInfo]:
        """Return what is known of every plugin, sorted by name."""
        quarantined = {line.plugin for line in self._hooks.stats() if line.quarantined}
        return [self._info(name, plugin, quarantined) for name, plugin in sorted(self._plugins.items())]

    def get(self, name: str) -> PluginInfo | None:
        """Return what is known of one plugin, or None."""
        return next((info for info in self.list() if info.name == name), None)

    def known(self) -> tuple[Plugin, ...]:
        """Return every plugin of which anything is known, in the order of loading."""
        return tuple(self._plugins.values())

    def active(self) -> tuple[Plugin, ...]:
        """Return the active plugins in the order of loading."""
        return tuple(plugin for plugin in self.known() if plugin.state is PluginState.ACTIVE)

    def left_disabled(self) -> dict[str, str]:
        """Return the plugins that are kept disabled and not installed, each with the reason that was given."""
        return {name: why for name, why in self._states.disabled().items() if name not in self._plugins}

    def _info(self, label: str, plugin: Plugin, quarantined: set[str]) -> PluginInfo:
        found, manifest, state = plugin.found, plugin.manifest, plugin.state
        return PluginInfo(
            label,
            found.version,
            found.distribution,
            plugin.origin,
            PluginState.QUARANTINED if state is PluginState.ACTIVE and label in quarantined else state,
            self._provided_by(plugin) if state is PluginState.ACTIVE else plugin.promised,
            plugin.reason,
            manifest.summary if manifest else "",
            self._hooks.hooks_of(label) or tuple((manifest.hooks if manifest else None) or ()),
            manifest.requires if manifest else (),
            found.target,
            manifest is not None,
            plugin.notes,
        )

    def _provided_by(self, plugin: Plugin) -> tuple[str, ...]:
        return tuple(entry for table in self.provided.tables().values() for entry in table.of_plugin(plugin.name))

    def _known(self, name: str) -> Plugin:
        plugin = self._plugins.get(name)
        if plugin is None:
            raise PluginError(f"no plugin is called {name!r}{self._near(name)}")
        return plugin

    def _near(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, self._plugins, n=1)
        return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(self._plugins)) or 'none'}"
