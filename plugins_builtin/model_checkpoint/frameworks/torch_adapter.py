"""The framework adapter for torch. The rules that it keeps are those of ``model_checkpoint.contracts.framework``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from model_checkpoint.contracts import JSON, Buffer, Mismatches, TensorView, TypedLeaf
from model_checkpoint.frameworks import torch_gradients, torch_rng, torch_tensors
from model_checkpoint.frameworks.state_dict_adapter import follows_convention
from model_checkpoint.frameworks.torch_memory import Base
from model_checkpoint.frameworks.torch_objects import Generators, Modules, Others, Tensors
from model_checkpoint.frameworks.torch_optimizers import Optimizers


class TorchAdapter:
    """Dispatches by class: objects to their handlers, leaves to `torch_tensors`, random streams to `torch_rng`."""

    name = "torch"

    def __init__(self) -> None:
        torch_gradients.watch_steps()
        self._handlers: dict[type, Any] = {
            torch.Tensor: Tensors(),
            torch.nn.Module: Modules(),
            torch.optim.Optimizer: Optimizers(),
            torch.Generator: Generators(),
            object: Others(),
        }

    def claims(self, obj: object) -> bool:
        """Claim strided tensors, generators, and what has ``state_dict()`` and ``load_state_dict()``."""
        if isinstance(obj, torch.Tensor):
            return obj.layout is torch.strided
        return isinstance(obj, torch.Generator) or follows_convention(obj)

    def capture(self, obj: Any) -> object:
        """Return the object's state; its tensors are the live ones."""
        return self._handler(obj).capture(obj)

    def check(self, obj: Any, state: object) -> Mismatches:
        """Compare a stored state with a live object and change nothing."""
        found: Mismatches = self._handler(obj).check(obj, state)
        return found

    def restore_into(self, obj: Any, state: object, *, strict: bool) -> None:
        """Put `state` into `obj` in place."""
        self._handler(obj).restore_into(obj, state, strict=strict)

    def _handler(self, obj: object) -> Any:
        return next(handler for kind, handler in self._handlers.items() if isinstance(obj, kind))

    def view(self, value: object) -> TensorView | TypedLeaf | None:
        """Describe a tensor, dtype, device, size, layout or memory format."""
        return torch_tensors.view(value)

    def from_buffer(self, buffer: Buffer, base: object | None) -> object:
        """Return the memory of a buffer, made once."""
        with torch.inference_mode(False):
            return base if base is not None else Base(buffer)

    def from_view(
        self,
        base: object,
        *,
        dtype: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        offset: int,
        attributes: Mapping[str, JSON],
    ) -> object:
        """Return the tensor that lies in `base`. Raises ``StateDecodeError``."""
        with torch.inference_mode(False):  # what is loaded in an evaluation may be trained on later
            return torch_tensors.rebuild(base, dtype, shape, strides, offset, attributes)

    def from_leaf(self, kind: str, value: object) -> object:
        """Rebuild a leaf. Raises ``StateDecodeError``."""
        with torch.inference_mode(False):
            return torch_tensors.rebuild_leaf(kind, value)

    def capture_rng(self) -> object:
        """Return the states of all global streams."""
        return torch_rng.capture_rng()

    def check_rng(self, state: object) -> None:
        """Raise ``StateDecodeError`` where the streams cannot be put back."""
        torch_rng.check_rng(state)

    def restore_rng(self, state: object) -> None:
        """Put the global streams back."""
        torch_rng.restore_rng(state)
