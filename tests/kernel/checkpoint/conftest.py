"""A kernel on the memory backend and a real SQLite file, and the adapters with a way through bytes and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_checkpoint.checkpoint.tree import FlatTree, flatten, unflatten
from model_checkpoint.contracts import Buffer, FrameworkAdapterDescriptor
from model_checkpoint.frameworks import numpy, state_dict, torch
from model_checkpoint.kernel import Kernel
from model_checkpoint.kernel.adapters import AdapterSet
from model_checkpoint.plugins import Registry


@pytest.fixture
def memory_kernel(tmp_path: Path) -> Iterator[Kernel]:
    """Strict, so that a hook of a test that is wrong fails the test."""
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", storage_backend="memory", strict=True, quiet=True) as kernel:
        yield kernel


@pytest.fixture(scope="session")
def adapters() -> AdapterSet:
    """The built-in adapters, registered as a kernel registers them."""
    registry: Registry[FrameworkAdapterDescriptor] = Registry("adapter")
    for plugin in (torch, numpy, state_dict):
        for descriptor in plugin.register_framework_adapters(kernel=None):
            registry.add(descriptor.name, descriptor, descriptor.name)
    return AdapterSet(registry)


@pytest.fixture(scope="session")
def reread(adapters: AdapterSet) -> Callable[[FlatTree], object]:
    """Rebuild a flat tree from its JSON and from copies of its bytes, as a storage backend would return them."""

    def rebuild(flat: FlatTree) -> object:
        buffers = [Buffer(b.name, b.dtype, b.shape, memoryview(bytearray(b.data))) for b in flat.buffers]
        return unflatten(json.loads(json.dumps(flat.tree)), buffers, adapters)

    return rebuild


@pytest.fixture(scope="session")
def round_trip(adapters: AdapterSet, reread: Callable[[FlatTree], object]) -> Callable[[object], object]:
    """Flatten a value and rebuild it."""
    return lambda value: reread(flatten(value, adapters, path="state"))
