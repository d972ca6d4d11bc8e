"""The settings of one kernel: read before anything else, checked by plugins, and taken over while it is open."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.common.secrets import MASK, Secret, is_reference
from model_checkpoint.config import (
    ConfigSources,
    ConfigSwap,
    ConfigWatcher,
    KernelConfig,
    Participant,
    Row,
    check_section,
    load,
    show,
)
from model_checkpoint.config.keys import dotted, in_a_variable
from model_checkpoint.errors import ConfigProblems, ConfigurationError, OperationVetoed
from model_checkpoint.hooks import HookEvent
from model_checkpoint.plugins import PluginState, call_optional

if TYPE_CHECKING:
    from model_checkpoint.kernel.kernel import Kernel
    from model_checkpoint.plugins import Plugin

_log = logging.getLogger("model_checkpoint")


def read_settings(
    kernel: Kernel, arguments: Mapping[str, object], config_file: str | os.PathLike[str] | None
) -> tuple[ConfigSwap, ConfigSources]:
    """Read the settings for a kernel that has only its early plugins yet; return also where they are read from.

    Raises ``ConfigurationError`` with all that is wrong, ``OperationVetoed``.
    """
    usual = ConfigSources.usual(os.environ, config_file=config_file)
    given = {key: value for key, value in arguments.items() if value is not None}
    sources = replace(_asked(kernel, usual), arguments=given)
    watch = Stopwatch()
    try:
        loaded = load(sources)
    except ConfigProblems as error:
        kernel.hooks.fire(HookEvent.ON_CONFIG_VALIDATION_ERROR, errors=error.problems, source="open", kept_generation=0)
        raise
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    kernel.hooks.fire(
        HookEvent.AFTER_CONFIG_LOAD,
        config=loaded.config,
        sources=tuple(map(str, loaded.files)),
        duration_s=watch.elapsed_s,
    )
    return ConfigSwap(loaded, lambda: load(sources), kernel.hooks.fire, lambda: participants(kernel)), sources


def _asked(kernel: Kernel, sources: ConfigSources) -> ConfigSources:
    """Let early plugins say which files are read; those that they add count as the project's."""
    layers = {str(path): layer for layer, path in sources.files}
    context = kernel.hooks.fire(
        HookEvent.BEFORE_CONFIG_LOAD, sources=list(layers), environment=sources.environment
    ).context
    wanted = [str(path) for path in context.get("sources") or ()]
    return replace(sources, files=tuple((layers.get(path, "project"), Path(path)) for path in wanted))


def plugin_section(kernel: Kernel, plugin: Plugin, schema: type | None) -> object:
    """Return a plugin's section of the settings: checked against its ``Config``, else as it was written.

    Early plugins come before the settings: theirs is empty.
    """
    config = kernel.settings.coming or kernel.config if "settings" in vars(kernel) else KernelConfig()
    return _section(config, plugin, schema)


def _section(config: KernelConfig, plugin: Plugin, schema: type | None) -> object:
    raw = _written(config, plugin) or {}
    return check_section(schema, raw, dotted(("plugins", plugin.section))) if schema else raw


def _written(config: KernelConfig, plugin: Plugin) -> Mapping[str, object] | None:
    own = config.plugins.get(plugin.section)
    return own if own is not None else config.plugins.get(in_a_variable(plugin.section))  # only variables set it


def participants(kernel: Kernel) -> Iterable[Participant]:
    """Return who has a say in a change of the settings: the kernel itself, then its active plugins in their order."""
    if "backends" in vars(kernel):
        yield KernelPart(kernel)
    yield from (
        PluginPart(plugin)
        for plugin in kernel.plugins.active()
        if plugin.origin != "script" or plugin.config or hasattr(plugin.obj, "reconfigure")
    )


@dataclass(frozen=True, slots=True)
class KernelPart:
    """What the kernel itself keeps of its settings."""

    kernel: Kernel
    name: str = "kernel"

    def check(self, new: KernelConfig) -> None:
        """Raise ``UnknownBackendError`` or ``PluginLoadError`` where the new storage backend cannot be had."""
        self.kernel.backends.descriptor(new.storage.backend)

    def reconfigure(self, old: KernelConfig, new: KernelConfig) -> None:
        """Follow the new settings."""
        self.kernel.backends.default = new.storage.backend
        self.kernel.hooks.strict = new.hooks.strict
        self.kernel.plugins.limit_s = new.plugin_timeout_s


@dataclass(frozen=True, slots=True)
class PluginPart:
    """A plugin that checks its own section, and follows it if it has ``reconfigure(old, new)``."""

    plugin: Plugin

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.plugin.name

    def check(self, new: KernelConfig) -> None:
        """Raise ``ConfigProblems`` for a section that does not fit the plugin's ``Config``."""
        _section(new, self.plugin, self._schema())

    def reconfigure(self, old: KernelConfig, new: KernelConfig) -> tuple[str, ...]:
        """Hand the plugin its old and its new section, where they differ; without ``reconfigure`` it has to wait."""
        if _written(old, self.plugin) == _written(new, self.plugin) or self.plugin.state is not PluginState.ACTIVE:
            return ()
        if not hasattr(self.plugin.obj, "reconfigure"):
            return (dotted(("plugins", self.plugin.section)),)
        before, after = (_section(config, self.plugin, self._schema()) for config in (old, new))
        call_optional(self.plugin.obj, "reconfigure", {"old": before, "new": after})
        self.plugin.config = after
        return ()

    def _schema(self) -> type | None:
        schema = getattr(self.plugin.obj, "Config", None)
        return schema if isinstance(schema, type) else None


def warn_of_foreign_sections(kernel: Kernel) -> None:
    """Mention in the log the sections of plugins that are not installed."""
    sections = {plugin.section for plugin in kernel.plugins.known()}
    unknown = sorted(set(kernel.settings.loaded.config.plugins) - sections - {in_a_variable(each) for each in sections})
    if unknown:
        _log.warning("the settings have sections for plugins that are not installed: %s", ", ".join(unknown))


def followed(kernel: Kernel, sources: ConfigSources) -> ConfigWatcher | None:
    """Take over changes of the files that a kernel's settings came from, until the watcher is stopped.

    None where there is no file, or nobody wants it.
    """
    loaded = kernel.settings.loaded
    if not loaded.files or not loaded.config.watch_config:
        return None
    folders = {path.parent for path in loaded.files}
    paths = [path for _, path in sources.files if path.parent in folders]  # one that comes later counts too
    watcher = ConfigWatcher(paths, lambda: _reload(kernel), digest=loaded.digest)
    watcher.start()
    return watcher


def _reload(kernel: Kernel) -> None:
    try:
        kernel.settings.reload("file")
    except (ConfigurationError, OperationVetoed) as error:
        _log.warning("the changed settings are not taken over, those before stay in force: %s", error)


def show_config(kernel: Kernel) -> list[Row]:
    """Return for every setting: key, value with secrets masked, layer, where it was set, when a change counts.

    Plugins that have a section are activated, for only they know which of their settings are secrets.
    """
    secrets = {key for plugin in kernel.plugins.known() for key in _secret_keys(kernel, plugin)}
    return [
        row._replace(value=MASK) if row.key in secrets and not is_reference(row.value) else row
        for row in show(kernel.settings.loaded)
    ]


def _secret_keys(kernel: Kernel, plugin: Plugin) -> list[str]:
    if _written(kernel.config, plugin) is None:
        return []
    kernel.plugins.activate(plugin.name)
    schema = getattr(plugin.obj, "Config", None)
    try:
        hints = get_type_hints(schema) if isinstance(schema, type) else {}
    except (NameError, TypeError):  # hints that name nothing: its section could not be checked either
        return []
    names = [name for name, hint in hints.items() if Secret in (hint, *get_args(hint))]
    return [
        dotted(("plugins", spelled, name))
        for name in names
        for spelled in (plugin.section, in_a_variable(plugin.section))
    ]
