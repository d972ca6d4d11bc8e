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
from typing import TYPE_CHECKING, cast

from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.contracts import (
    AnalyzerDescriptor,
    FrameworkAdapterDescriptor,
    RecordStoreDescriptor,
    StorageBackendDescriptor,
)
from model_checkpoint.errors import HookRegistrationError, OperationVetoed, PluginConflictError, PluginLoadError
from model_checkpoint.hooks import HookEvent, HookManager
from model_checkpoint.plugins.registry import Provided

if TYPE_CHECKING:
    from model_checkpoint.plugins.discovery import FoundPlugin


_DESCRIPTORS: dict[str, type] = {
    "register_storage_backends": StorageBackendDescriptor,
    "register_record_stores": RecordStoreDescriptor,
    "register_framework_adapters": FrameworkAdapterDescriptor,
    "register_analyzers": AnalyzerDescriptor,
}


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
                    error=f"the name {plugin.name!r} belongs to {_owner(taken)}: rename the entry point",
                )
                continue
            self._load(plugin.name, plugin.load, plugin.version, plugin.distribution, origin)

    def add(self, plugin: object, name: str | None = None) -> str:
        """Register an object as a plugin and return its name: its own ``name``, else that of its class.

        An object that was added under the same name before is replaced. Errors are raised, for a script wants to see
        them: ``PluginConflictError`` where an installed plugin has the name, ``PluginLoadError``.
        """
        label = name or label_of(plugin)
        taken = self._infos.get(label)
        if taken is not None and taken.origin != "script":
            raise PluginConflictError(f"the name {label!r} belongs to {_owner(taken)}: add the plugin with name='...'")
        if taken is not None and taken.state is PluginState.ACTIVE:
            self._withdraw(label, registered=True)
        self._load(label, lambda: plugin, "", "", "script")
        info = self._infos[label]
        if info.state is PluginState.FAILED:
            raise PluginLoadError(f"plugin {label!r} cannot be used: {info.error}") from self._cause
        return label

    _cause: BaseException | None = None

    def _load(self, name: str, load: Callable[[], object], version: str, distribution: str, origin: str) -> None:
        watch = Stopwatch()
        self._cause = None
        state, error, registered = PluginState.ACTIVE, "", False
        try:
            self._hooks.fire(
                HookEvent.BEFORE_PLUGIN_LOAD, name=name, version=version, distribution=distribution, origin=origin
            )
            plugin = load()
            self._hooks.register(plugin, name=name)
            registered = True
            if origin == "script" and not self._hooks.hooks_of(name):
                raise HookRegistrationError(f"{plugin!r} has no hooks: mark its functions with @hookimpl")
            self._enter(name)
        except OperationVetoed as veto:
            state, error = PluginState.DISABLED, veto.reason
        except (Exception, SystemExit) as failure:
            self._cause = failure
            state, error = PluginState.FAILED, f"{type(failure).__name__}: {failure}"
            self._withdraw(name, registered=registered)
        provides = tuple(entry for table in self.provided.tables().values() for entry in table.of_plugin(name))
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
        implemented = self._hooks.hooks_of(name)
        for hook, table in self.provided.tables().items():
            answer = self._hooks.call_one(name, hook, kernel=self._kernel) if hook in implemented else ()
            for item in cast("Iterable[object]", answer or ()):
                _check(hook, item)
                for key in getattr(item, "schemes", None) or (getattr(item, "name", ""),):
                    table.add(key, item, name)

    def _withdraw(self, name: str, *, registered: bool) -> None:
        for table in self.provided.tables().values():
            table.remove_plugin(name)
        if registered:  # else the name may be that of somebody else's hook
            self._hooks.unregister(name=name)


def label_of(plugin: object) -> str:
    """Return the name that an object is known by as a plugin."""
    own = getattr(plugin, "name", None)
    return own if isinstance(own, str) and own else getattr(plugin, "__name__", type(plugin).__name__)


def _check(hook: str, item: object) -> None:
    wanted, name = _DESCRIPTORS.get(hook), getattr(item, "name", None)
    if wanted is not None and not isinstance(item, wanted):
        raise PluginLoadError(f"its {hook} returned a {type(item).__name__}, not a {wanted.__name__}")
    if wanted is None and not (isinstance(name, str) and name):
        raise PluginLoadError(f"its {hook} returned a {type(item).__name__} without a name, not a descriptor")


def _owner(plugin: PluginInfo) -> str:
    return f"the distribution {plugin.distribution}" if plugin.distribution else "a plugin that the script added"
