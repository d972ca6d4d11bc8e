"""Tables of what plugins provide: name -> descriptor, one table per kind.

::

    expected   a waiting plugin's manifest names it: the plugin is activated when somebody looks
    entered    its descriptor is here
    lacking    its plugin cannot be used: whoever looks is told why
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from model_checkpoint.errors import PluginConflictError, PluginLoadError

if TYPE_CHECKING:
    from model_checkpoint.contracts import (
        AnalyzerDescriptor,
        Descriptor,
        FrameworkAdapterDescriptor,
        RecordStoreDescriptor,
        StorageBackendDescriptor,
    )

T = TypeVar("T")

KINDS = {
    "register_storage_backends": "storage",
    "register_record_stores": "scheme",
    "register_framework_adapters": "adapter",
    "register_analyzers": "analyzer",
    "register_cloud_providers": "cloud",
    "register_notifiers": "notifier",
    "register_selectors": "selector",
    "register_stoppers": "stopper",
    "register_retention_policies": "retention",
    "register_integrity_algorithms": "integrity",
    "register_save_decisions": "cadence",
    "register_codecs": "codec",
    "register_migrators": "migrator",
    "register_api_routes": "route",
    "register_commands": "command",
    "register_dashboards": "dashboard",
}
"""Registration hook -> kind."""
OWN_TABLES = (
    "register_storage_backends",
    "register_record_stores",
    "register_framework_adapters",
    "register_analyzers",
)
OTHER_KINDS = {hook: kind for hook, kind in KINDS.items() if hook not in OWN_TABLES}


class Registry(Generic[T]):
    """Descriptors of one kind by name. A name belongs to one plugin."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, tuple[T, str]] = {}
        self._expected: dict[str, tuple[str, Callable[[], object]]] = {}
        self._lacking: dict[str, tuple[str, str]] = {}

    def add(self, name: str, item: T, plugin: str) -> None:
        """Enter `item`. Raises ``PluginConflictError`` where another plugin holds the name."""
        holder = self.holder(name)
        if holder not in (None, plugin):
            raise PluginConflictError(
                f"plugins {holder!r} and {plugin!r} both provide the {self.kind} {name!r}:"
                f" uninstall one of them, or open the kernel with plugins=[...] naming those you want"
            )
        self._expected.pop(name, None)
        self._lacking.pop(name, None)
        self._entries[name] = (item, plugin)

    def expect(self, name: str, plugin: str, activate: Callable[[], object]) -> None:
        """Say that `activate` makes `plugin` enter `name`; it is called when somebody looks."""
        self._lacking.pop(name, None)
        self._expected[name] = (plugin, activate)

    def lacks(self, name: str, plugin: str, why: str) -> None:
        """Say why nobody gets `name`, unless another plugin than `plugin` provides it: ``is disabled ...``."""
        if self.holder(name) in (None, plugin):
            self._expected.pop(name, None)
            self._entries.pop(name, None)
            self._lacking[name] = (plugin, why)

    def remove_plugin(self, plugin: str) -> None:
        """Take out everything that `plugin` entered or was expected to enter."""
        self._entries = {name: entry for name, entry in list(self._entries.items()) if entry[1] != plugin}
        self._expected = {name: entry for name, entry in list(self._expected.items()) if entry[0] != plugin}
        self._lacking = {name: entry for name, entry in list(self._lacking.items()) if entry[0] != plugin}

    def get(self, name: str) -> T | None:
        """Return what is entered under `name`, activating its plugin if it waits, or None.

        Raises ``PluginLoadError`` where a plugin provides it that cannot be used, saying why.
        """
        entry = self._entries.get(name)
        if entry is None and (expected := self._expected.get(name)):
            expected[1]()
            entry = self._entries.get(name)
        if entry is None and (lack := self._lacking.get(name)):
            raise PluginLoadError(f"the {self.kind} {name!r} comes from the plugin {lack[0]!r}, which {lack[1]}")
        return entry[0] if entry else None

    def holder(self, name: str) -> str | None:
        """Return the name of the plugin that provides `name`, or None."""
        entry, expected = self._entries.get(name), self._expected.get(name)
        return entry[1] if entry else expected[0] if expected else None

    def names(self) -> list[str]:
        """Return all names that can be had, sorted."""
        return sorted({*self._entries, *self._expected})

    def of_plugin(self, plugin: str) -> list[str]:
        """Return the names that `plugin` entered, as ``kind:name``."""
        return [f"{self.kind}:{name}" for name, (_, owner) in list(self._entries.items()) if owner == plugin]

    def __iter__(self) -> Iterator[T]:
        for _, activate in list(self._expected.values()):
            activate()
        return iter([item for item, _ in self._entries.values()])


@dataclass(frozen=True, slots=True)
class Provided:
    """Everything that plugins provide, by kind."""

    storage: Registry[StorageBackendDescriptor]
    schemes: Registry[RecordStoreDescriptor]
    adapters: Registry[FrameworkAdapterDescriptor]
    analyzers: Registry[AnalyzerDescriptor]
    others: Mapping[str, Registry[Descriptor]]
    """By registration hook."""

    @classmethod
    def empty(cls) -> Provided:
        """Return tables with nothing in them."""
        others: dict[str, Registry[Descriptor]] = {hook: Registry(kind) for hook, kind in OTHER_KINDS.items()}
        return cls(Registry("storage"), Registry("scheme"), Registry("adapter"), Registry("analyzer"), others)

    def tables(self) -> dict[str, Registry[Any]]:
        """Return all tables by the registration hook that fills them."""
        own: tuple[Registry[Any], ...] = (self.storage, self.schemes, self.adapters, self.analyzers)
        return {**dict(zip(OWN_TABLES, own, strict=True)), **self.others}

    def table_of(self, capability: str) -> tuple[Registry[Any], str] | None:
        """Return the table and the name that a capability such as ``storage:vault`` means, or None."""
        kind, _, name = capability.partition(":")
        return next(((table, name) for table in self.tables().values() if table.kind == kind), None)
