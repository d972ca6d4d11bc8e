"""The adapters as a kernel has them, and what a checkpoint gives back of one value or of several objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from model_checkpoint.checkpoint.capture import OBJECTS, capture
from model_checkpoint.checkpoint.tree import FlatTree, flatten, unflatten
from model_checkpoint.contracts import Buffer, FrameworkAdapterDescriptor
from model_checkpoint.frameworks import numpy, state_dict, torch
from model_checkpoint.kernel.adapters import AdapterSet
from model_checkpoint.plugins import Registry


@pytest.fixture(scope="session")
def adapters() -> AdapterSet:
    """The built-in adapters, registered as a kernel registers them."""
    registry: Registry[FrameworkAdapterDescriptor] = Registry("adapter")
    for plugin in (torch, numpy, state_dict):
        for descriptor in plugin.register_framework_adapters(kernel=None):
            registry.add(descriptor.name, descriptor, descriptor.name)
    return AdapterSet(registry)


@pytest.fixture(scope="session")
def reread(adapters: AdapterSet) -> Callable[[FlatTree], Any]:
    """Rebuild a flat tree from its JSON and from copies of its bytes, as a storage backend would return them."""

    def rebuild(flat: FlatTree) -> object:
        buffers = [Buffer(b.name, b.dtype, b.shape, memoryview(bytearray(b.data))) for b in flat.buffers]
        return unflatten(json.loads(json.dumps(flat.tree)), buffers, adapters)

    return rebuild


@pytest.fixture(scope="session")
def round_trip(adapters: AdapterSet, reread: Callable[[FlatTree], Any]) -> Callable[[object], Any]:
    """Flatten a value and rebuild it."""
    return lambda value: reread(flatten(value, adapters, path="state"))


@pytest.fixture(scope="session")
def stored(adapters: AdapterSet, reread: Callable[[FlatTree], Any]) -> Callable[[object], Any]:
    """Return what a checkpoint of one object gives back."""
    return lambda obj: reread(capture({"x": obj}, adapters, with_rng=False))[OBJECTS]["x"]
