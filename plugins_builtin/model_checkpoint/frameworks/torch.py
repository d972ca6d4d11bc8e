"""The plugin ``torch``: modules, optimizers, schedulers, tensors and random streams. Imports torch when one is met."""

from __future__ import annotations

from model_checkpoint.contracts import FrameworkAdapter, FrameworkAdapterDescriptor
from model_checkpoint.errors import MissingExtraError
from model_checkpoint.hooks import hookimpl


def create_adapter() -> FrameworkAdapter:
    """Return the adapter. Raises ``MissingExtraError`` where torch is not installed."""
    try:
        from model_checkpoint.frameworks.torch_adapter import TorchAdapter
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("a checkpoint with torch tensors", "torch") from error
    return TorchAdapter()


@hookimpl
def register_framework_adapters(kernel: object) -> list[FrameworkAdapterDescriptor]:
    """Provide ``torch`` for every type that torch defines or that inherits from one of its own."""
    return [FrameworkAdapterDescriptor("torch", ("torch",), create_adapter)]
