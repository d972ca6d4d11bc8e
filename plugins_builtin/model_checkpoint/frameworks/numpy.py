"""The plugin ``numpy``: arrays, scalars, dtypes and random generators. Imports numpy when one is met."""

from __future__ import annotations

from model_checkpoint.contracts import FrameworkAdapter, FrameworkAdapterDescriptor
from model_checkpoint.hooks import hookimpl


def create_adapter() -> FrameworkAdapter:
    """Return the adapter."""
    from model_checkpoint.frameworks.numpy_adapter import NumpyAdapter

    return NumpyAdapter()


@hookimpl
def register_framework_adapters(kernel: object) -> list[FrameworkAdapterDescriptor]:
    """Provide ``numpy`` for every type that numpy defines or that inherits from one of its own."""
    return [FrameworkAdapterDescriptor("numpy", ("numpy",), create_adapter)]
