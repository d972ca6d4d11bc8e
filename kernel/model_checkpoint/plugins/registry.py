"""Tables of what plugins provide: name -> descriptor, one table per kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from model_checkpoint.errors import PluginConflictError

if TYPE_CHECKING:
    from model_checkpoint.contracts import (
        AnalyzerDescriptor,
        Descriptor,
        FrameworkAdapterDescriptor,
        RecordStoreDescriptor,
        StorageBackendDescriptor,
    )

T = TypeVar("T")


class Registry(Generic[T]):
    """Descriptors of one kind by name. A name belongs to one plugin."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, tuple[T, str]] = {}

    def add(self, name: str, item: T, plugin: str) -> None:
        """Enter `item`. Raises ``PluginConflictError`` where another plugin holds the name."""
        holder = self._entries.get(name)
        if holder is not None and holder[1] != plugin:
            raise PluginConflictError(
                f"plugins {holder[1]!r} and {plugin!r} both provide the {self.kind} {name!r}:"
                f" uninstall one of them, or open the kernel with plugins=[...] naming those you want"
            )
        self._entries[name] = (item, plugin)

    def remove_plugin(self, plugin: str) -> None:
        """Take out everything that `plugin` entered."""
        self._entries = {name: entry for name, entry in self._entries.items() if entry[1] != plugin}

    def get(self, name: str) -> T | None:
        """Return what is entered under `name`, or None."""
        entry = self._entries.get(name)
        return entry[0] if entry else None

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._entries)

    def of_plugin(self, plugin: str) -> list[str]:
        """Return the names that `plugin` entered, as ``kind:name``."""
        return [f"{self.kind}:{name}" for name, (_, owner) in self._entries.items() if owner == plugin]

    def __iter__(self) -> Iterator[T]:
        return iter([item for item, _ in self._entries.values()])


OTHER_KINDS = {
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
"""Registration hook -> kind, of those whose contract comes with the first of the kind."""


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
        return {
            "register_storage_backends": self.storage,
            "register_record_stores": self.schemes,
            "register_framework_adapters": self.adapters,
            "register_analyzers": self.analyzers,
            **self.others,
        }
