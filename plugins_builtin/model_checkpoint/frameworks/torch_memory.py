"""Raw memory of torch tensors: bytes out of a storage, tensors into it, bit for bit for every dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model_checkpoint.common.strides import c_strides, check_within, is_dense
from model_checkpoint.contracts import JSON, Buffer
from model_checkpoint.errors import StateDecodeError

DTYPES: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)
}
"""Every dtype by the word that is stored."""
QUANTIZED = frozenset({torch.quint8, torch.qint8, torch.qint32, torch.quint4x2, torch.quint2x4})
_CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
_ALIGNMENT = 16


def placed_in(
    storage: torch.UntypedStorage, dtype: torch.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Tensor:
    """Return the tensor of `dtype` that lies in `storage`; `offset` counts elements. The caller checked the bounds."""
    return torch.empty(0, dtype=dtype, device=storage.device).set_(storage, offset, shape, strides)


def carrier(tensor: Tensor) -> Tensor:
    """Return the same memory as a dtype of the same width that every kernel can copy: torch cannot copy an ``int4``."""
    dtype = _CARRIERS[tensor.element_size()]
    return placed_in(
        tensor.untyped_storage(), dtype, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()
    )


def raw_bytes(storage: torch.UntypedStorage, start: int, stop: int) -> memoryview:
    """Return bytes [start, stop) of a storage: the live memory on the CPU, a copy from any other device."""
    array: Any = placed_in(storage, torch.uint8, start, (stop - start,), (1,)).cpu().numpy()
    return memoryview(array)


def c_order_bytes(tensor: Tensor) -> memoryview:
    """Return the elements in C order: the live memory where they lie so already."""
    held = tensor if tensor.is_contiguous() else carrier(tensor).contiguous()
    start = int(held.storage_offset()) * held.element_size()
    return raw_bytes(held.untyped_storage(), start, start + held.numel() * held.element_size())


class Base:
    """The memory of one stored buffer, and what was laid out from it in another order of dimensions."""

    def __init__(self, buffer: Buffer) -> None:
        flat = torch.empty(0, dtype=torch.uint8, device="cpu")
        if buffer.data.nbytes:
            whole = bytearray(buffer.data) if buffer.data.readonly else buffer.data
            flat = torch.frombuffer(whole, dtype=torch.uint8)
        if flat.data_ptr() % _ALIGNMENT:
            flat = flat.clone()
        self.flat = flat
        self._laid_out: dict[tuple[object, ...], Tensor] = {}

    def tensor(
        self,
        dtype: torch.dtype,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        offset: int,
        layout: JSON | None,
    ) -> Tensor:
        """Return the tensor at byte `offset`. Raises ``StateDecodeError`` where it would not lie inside."""
        size = dtype.itemsize
        placed = check_within(self.flat.numel(), itemsize=size, shape=shape, strides=strides, offset=offset)
        if offset % size:
            raise StateDecodeError(f"a {dtype} cannot begin at byte {offset}: no multiple of {size}")
        whole = placed_in(self.flat.untyped_storage(), dtype, offset // size, shape, placed)
        if strides is not None or layout is None:
            return whole
        key = (dtype, shape, offset, str(layout))
        if key not in self._laid_out:
            self._laid_out[key] = _laid_out(whole, layout)
        held = self._laid_out[key]
        return placed_in(held.untyped_storage(), dtype, 0, shape, held.stride())


def _laid_out(tensor: Tensor, layout: JSON) -> Tensor:
    """Copy a tensor into memory of its own with the strides `layout`, which must leave no gap."""
    shape = tuple(tensor.shape)
    if not isinstance(layout, list) or not all(type(stride) is int for stride in layout):
        raise StateDecodeError(f"the layout {layout!r} of a tensor is no list of strides")
    strides = tuple(int(stride) for stride in layout if isinstance(stride, int))
    check_within(tensor.numel(), itemsize=1, shape=shape, strides=strides, offset=0)
    if not is_dense(shape, strides):
        raise StateDecodeError(f"the layout {layout} of a tensor of shape {shape} leaves gaps")
    memory = torch.empty(tensor.numel(), dtype=tensor.dtype, device="cpu").untyped_storage()
    result = placed_in(memory, tensor.dtype, 0, shape, strides)
    carrier(result).copy_(carrier(tensor))
    return result


def layout_of(tensor: Tensor) -> Mapping[str, JSON]:
    """Return the strides of a tensor that fills its memory in another order than C, as an attribute."""
    shape, strides = tuple(tensor.shape), tensor.stride()
    if not tensor.numel() or strides == c_strides(shape) or not is_dense(shape, strides):
        return {}
    return {"layout": list(strides)}
