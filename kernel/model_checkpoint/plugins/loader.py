"""Loads plugins one by one, each alone with its failure, and enters what they provide.

::

    discovered -> (before_plugin_load) -> imported -> hooks registered -> register_* called -> (after_plugin_load)
                          | veto               \\____________ any exception ____________/
                          v                                     v
                       disabled                              failed: its hooks and entries are taken out again
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.contracts import (
    AnalyzerDescriptor,
    FrameworkAdapterDescriptor,
    RecordStoreDescriptor,
    StorageBackendDescriptor,
)
from model_checkpoint.errors import OperationVetoed, PluginLoadError
from model_checkpoint.hooks import HookEvent, HookManager
from model_checkpoint.plugins.discovery import FoundPlugin
from model_checkpoint.plugins.registry import Provided


class PluginState(StrEnum):
    """Where a plugin stands."""

    ACTIVE = "active"
    DISABLED = "disabled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One line of ``kernel.plugins.list()``."""

    name: str
    version: str
    distribution: str
    origin: str
    """``builtin``, ``installed`` or ``script``."""
    state: PluginState
    provides: tuple[str, ...] = ()
    """Such as ``storage:pytorch``."""
    error: str = ""
    """Why it is not active, in a sentence."""


class PluginSet:
    """The plugins of one kernel."""

    def __init__(self, hooks: HookManager, kernel: object) -> None:
        self._hooks = hooks
        self._kernel = kernel
        self._infos: dict[str, PluginInfo] = {}
        self.provided = Provided.empty()

    def list(self) -> list[PluginInfo]:
        """Return what is known of every plugin, sorted by name."""
        return [self._infos[name] for name in sorted(self._infos)]

    def get(self, name: str) -> PluginInfo | None:
        """Return what is known of one plugin, or None."""
        return self._infos.get(name)

    def load_found(self, found: Iterable[FoundPlugin]) -> None:
        """Load entry points in the given order. One that fails is marked and fails alone."""
        for plugin in found:
            origin = "builtin" if plugin.is_builtin else "installed"
            taken = self._infos.get(plugin.name)
            if taken is not None:
                label = f"{plugin.name} ({plugin.distribution})"
                self._infos[label] = PluginInfo(
                    label,
                    plugin.version,
                    plugin.distribution,
                    origin,
                    PluginState.FAILED,
                    error=f"the name {plugin.name!r} belongs to {taken.distribution}: rename the entry point",
                )
                continue
            self._load(plugin.name, plugin.load, plugin.version, plugin.distribution, origin)

    def add(self, plugin: object, name: str | None = None) -> str:
        """Register an object as a plugin and return its name. Its errors are raised: a script wants to see them."""
        label = name or getattr(plugin, "name", None) or type(plugin).__name__
        if not isinstance(label, str):
            label = type(plugin).__name__
        self._load(label, lambda: plugin, "", "", "script")
        info = self._infos[label]
        if info.state is PluginState.FAILED:
            raise PluginLoadError(f"plugin {label!r} cannot be used: {info.error}") from self._cause
        return label

    _cause: BaseException | None = None

    def _load(self, name: str, load: Callable[[], object], version: str, distribution: str, origin: str) -> None:
        watch = Stopwatch()
        self._cause = None
        state, error = PluginState.ACTIVE, ""
        try:
            self._hooks.fire(
                HookEvent.BEFORE_PLUGIN_LOAD, name=name, version=version, distribution=distribution, origin=origin
            )
            plugin = load()
            self._hooks.register(plugin, name=name)
            self._enter(name)
        except OperationVetoed as veto:
            state, error = PluginState.DISABLED, veto.reason
        except Exception as failure:
            self._cause = failure
            state, error = PluginState.FAILED, f"{type(failure).__name__}: {failure}"
            self._withdraw(name)
        provides = tuple(entry for table in self.provided.tables() for entry in table.of_plugin(name))
        self._infos[name] = PluginInfo(name, version, distribution, origin, state, provides, error)
        if state is PluginState.FAILED:
            self._hooks.fire(HookEvent.ON_PLUGIN_ERROR, plugin=name, hook="load", error=self._cause)
        elif state is PluginState.ACTIVE:
            self._hooks.fire(
                HookEvent.AFTER_PLUGIN_LOAD,
                name=name,
                version=version,
                hooks=self._hooks.hooks_of(name),
                duration_s=watch.elapsed_s,
            )

    def _enter(self, name: str) -> None:
        def ask(hook: str) -> Iterable[object]:
            return cast("Iterable[object]", self._hooks.call_one(name, hook, kernel=self._kernel) or ())

        for item in ask("register_storage_backends"):
            storage = cast(StorageBackendDescriptor, item)
            self.provided.storage.add(storage.name, storage, name)
        for item in ask("register_record_stores"):
            store = cast(RecordStoreDescriptor, item)
            for scheme in store.schemes:
                self.provided.schemes.add(scheme, store, name)
        for item in ask("register_framework_adapters"):
            adapter = cast(FrameworkAdapterDescriptor, item)
            self.provided.adapters.add(adapter.name, adapter, name)
        for item in ask("register_analyzers"):
            analyzer = cast(AnalyzerDescriptor, item)
            self.provided.analyzers.add(analyzer.name, analyzer, name)

    def _withdraw(self, name: str) -> None:
        for table in self.provided.tables():
            table.remove_plugin(name)
        if self._hooks.has_plugin(name):
            self._hooks.unregister(name=name)
