"""Conformance kits for plugin authors: subclass one, give it the fixture it asks for, and pytest runs the contract.

::

    from model_checkpoint.testing import StorageBackendTests

    class TestMyBackend(StorageBackendTests):
        ...                      # the kit's docstring says which fixture

Each kit tests the rules that the contract's docstring numbers (`model_checkpoint.contracts.storage`, `.records`).
A kit is imported when it is first asked for, so that importing this package needs no pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_checkpoint.testing.hook_plugin import HookPluginTests
    from model_checkpoint.testing.record_store import RecordStoreTests
    from model_checkpoint.testing.storage_backend import StorageBackendTests

__all__ = ["HookPluginTests", "RecordStoreTests", "StorageBackendTests"]

_MODULES = {
    "HookPluginTests": "hook_plugin",
    "RecordStoreTests": "record_store",
    "StorageBackendTests": "storage_backend",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    kit: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = kit  # the next look-up does not come here
    return kit


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
