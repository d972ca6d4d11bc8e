"""The plugin ``state-dict``: any object of any package that has ``state_dict()`` and ``load_state_dict()``."""

from __future__ import annotations

from model_checkpoint.contracts import FrameworkAdapter, FrameworkAdapterDescriptor
from model_checkpoint.hooks import hookimpl


def create_adapter() -> FrameworkAdapter:
    """Return the adapter."""
    from model_checkpoint.frameworks.state_dict_adapter import StateDictAdapter

    return StateDictAdapter()


@hookimpl
def register_framework_adapters(kernel: object) -> list[FrameworkAdapterDescriptor]:
    """Provide ``state-dict``, which is asked last."""
    return [FrameworkAdapterDescriptor("state-dict", (), create_adapter)]
