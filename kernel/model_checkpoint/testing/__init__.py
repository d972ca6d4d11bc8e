"""Conformance kits for plugin authors: subclass one, give it the fixture it asks for, and pytest runs the contract.

::

    from model_checkpoint.testing import StorageBackendTests

    class TestMyBackend(StorageBackendTests):
        ...                      # the kit's docstring says which fixture

Each kit tests numbered rules: those of the contract's docstring (`model_checkpoint.contracts.storage`, `.records`,
`.framework`, `.cadence`) or of its own. `model_checkpoint.testing.plugin_fixture` has a fixture that gives an open
kernel.
A kit is imported when it is first asked for, so that importing this package needs no pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_checkpoint.testing.analyzer import AnalyzerTests
    from model_checkpoint.testing.codec import CodecTests
    from model_checkpoint.testing.command import CommandTests
    from model_checkpoint.testing.framework_adapter import FrameworkAdapterTests
    from model_checkpoint.testing.hook_plugin import HookPluginTests
    from model_checkpoint.testing.record_store import RecordStoreTests
    from model_checkpoint.testing.save_decision import SaveDecisionTests
    from model_checkpoint.testing.storage_backend import StorageBackendTests

__all__ = [
    "AnalyzerTests",
    "CodecTests",
    "CommandTests",
    "FrameworkAdapterTests",
    "HookPluginTests",
    "RecordStoreTests",
    "SaveDecisionTests",
    "StorageBackendTests",
]

_MODULES = {
    "AnalyzerTests": "analyzer",
    "CodecTests": "codec",
    "CommandTests": "command",
    "FrameworkAdapterTests": "framework_adapter",
    "HookPluginTests": "hook_plugin",
    "RecordStoreTests": "record_store",
    "SaveDecisionTests": "save_decision",
    "StorageBackendTests": "storage_backend",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    module = f"{__name__}.{_MODULES[name]}"
    pytest.register_assert_rewrite(module)  # so that what fails shows its values, as it does in a test's own file
    kit: object = getattr(import_module(module), name)
    globals()[name] = kit  # the next look-up does not come here
    return kit


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
