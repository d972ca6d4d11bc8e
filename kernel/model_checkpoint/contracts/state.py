"""What a checkpoint is made of, between the framework that owns the tensors and the backend that keeps the bytes.

::

    payload.tree     {"objects": {"model": ..., "optimizer": ...}, "rng": {...}}
                     plain JSON; what JSON lacks is a node {"$": kind, ...} (model_checkpoint.common.leaves);
                     a tensor is a node {"$": "tensor", "buffer": NAME, "dtype": ..., "shape": ...}
    payload.buffers  NAME -> contiguous bytes; tied tensors and views share one buffer
    payload.metadata what a person wants to know: run, epoch, step, metrics, environment, parent
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True, slots=True)
class Buffer:
    """The contiguous bytes of one stored tensor."""

    name: str
    """Where its first owner stands in the tree, such as ``model.conv1.weight``. Data, never a path of a file."""
    dtype: str
    """The element type in the frameworks' own word: ``float32``, ``bfloat16``, ``float8_e4m3fn``, ``bool``."""
    shape: tuple[int, ...]
    """Elements per dimension, C order. ``()`` is a scalar; a dimension may be 0."""
    data: memoryview
    """Little-endian bytes, C-contiguous, format ``B``; its length is the product of shape times the item size."""

    @property
    def nbytes(self) -> int:
        """Length of the data in bytes."""
        return self.data.nbytes


@dataclass(frozen=True, slots=True)
class CheckpointPayload:
    """One checkpoint on its way into or out of a storage backend."""

    checkpoint_id: str
    tree: dict[str, JSON]
    buffers: Sequence[Buffer]
    """In the order of the tree. Names are unique."""
    metadata: Mapping[str, JSON]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(buffer.nbytes for buffer in self.buffers)
