"""Framework adapters of one kernel, created when an object of their packages is first met."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_checkpoint.contracts import FrameworkAdapter, FrameworkAdapterDescriptor
    from model_checkpoint.plugins import Registry


class AdapterSet:
    """Finds the adapter for an object or a package. Never imports a framework that the process does not use."""

    def __init__(self, descriptors: Registry[FrameworkAdapterDescriptor]) -> None:
        self._descriptors = descriptors
        self._created: dict[str, FrameworkAdapter] = {}

    def named(self, name: str) -> FrameworkAdapter | None:
        """Return the adapter of that name, or None."""
        descriptor = self._descriptors.get(name)
        return self._create(descriptor) if descriptor else None

    def for_package(self, package: str) -> FrameworkAdapter | None:
        """Return the adapter that knows a top-level package, or None."""
        for descriptor in self._descriptors:
            if package in descriptor.packages:
                return self._create(descriptor)
        return None

    def for_object(self, obj: object) -> FrameworkAdapter | None:
        """Return the adapter that captures and restores `obj`: its package's first, then those for any package."""
        packages = {cls.__module__.partition(".")[0] for cls in type(obj).__mro__}
        own = [d for d in self._descriptors if packages.intersection(d.packages)]
        general = [d for d in self._descriptors if not d.packages]
        for descriptor in own + general:
            adapter = self._create(descriptor)
            if adapter.claims(obj):
                return adapter
        return None

    def loaded(self) -> Mapping[str, FrameworkAdapter]:
        """Return by name the adapters whose framework this process already imported."""
        used = [d for d in self._descriptors if any(sys.modules.get(package) is not None for package in d.packages)]
        return {descriptor.name: self._create(descriptor) for descriptor in used}

    def _create(self, descriptor: FrameworkAdapterDescriptor) -> FrameworkAdapter:
        adapter = self._created.get(descriptor.name)
        if adapter is None:
            adapter = self._created.setdefault(descriptor.name, descriptor.create())
        return adapter
