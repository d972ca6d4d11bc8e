"""Raw memory of numpy arrays: any array as bytes with strides, and arrays into the bytes of a stored buffer."""

from __future__ import annotations

from typing import Any

import numpy as np

from model_checkpoint.common.strides import c_strides, check_within, is_dense
from model_checkpoint.contracts import JSON, Buffer
from model_checkpoint.errors import StateDecodeError

Array = np.ndarray[Any, np.dtype[Any]]
_ALIGNMENT = 16


class _Memory:
    """Lends memory to numpy; whoever looks at it keeps `owner` alive."""

    def __init__(
        self, owner: object, address: int, shape: tuple[int, ...], strides: tuple[int, ...], *, writeable: bool = False
    ) -> None:
        self.owner = owner
        data = (address, not writeable)
        self.__array_interface__ = {"data": data, "shape": shape, "strides": strides, "typestr": "|u1", "version": 3}


def address_of(array: Array) -> int:
    """Return the address of the first element."""
    return int(array.__array_interface__["data"][0])


def as_bytes(array: Array, *, writeable: bool = False) -> Array:
    """Return the memory of an array as uint8, with one dimension more for the bytes of an element."""
    shape, strides = (*array.shape, array.itemsize), (*array.strides, 1)
    if not array.size or not array.itemsize:
        return np.empty(shape, np.uint8)
    return np.asarray(_Memory(array, address_of(array), shape, strides, writeable=writeable))


def root_of(array: Array) -> Array:
    """Return the array whose memory `array` looks into."""
    root: Any = array
    while True:
        base = root.base
        if type(base).__name__ == "DummyArray":  # as_strided puts one in between
            base = base.base
        if not isinstance(base, np.ndarray):
            return np.asarray(root)
        root = base


def raw_bytes(root: Array, start: int, stop: int) -> memoryview:
    """Return bytes [start, stop) of the memory of a root, counted from its lowest byte."""
    low, _ = np.lib.array_utils.byte_bounds(root)
    return _lent(np.asarray(_Memory(root, int(low) + start, (stop - start,), (1,))))


def c_order_bytes(array: Array) -> memoryview:
    """Return the elements in C order: the live memory where they lie so already."""
    return _lent(np.ascontiguousarray(as_bytes(array)).reshape(-1))


def _lent(flat: Any) -> memoryview:
    return memoryview(flat)


class Base:
    """The memory of one stored buffer, and what was laid out from it in another way."""

    def __init__(self, buffer: Buffer) -> None:
        flat: Array = np.frombuffer(buffer.data, np.uint8)
        if not flat.flags.writeable or address_of(flat) % _ALIGNMENT:
            flat = flat.copy()
        self.flat = flat
        self._laid_out: dict[tuple[object, ...], Array] = {}

    def array(
        self,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        offset: int,
        layout: JSON,
        flip: JSON,
        *,
        bytewise: bool,
    ) -> Array:
        """Return the array at byte `offset`. `bytewise`: shape and strides have a last dimension for the bytes.

        Raises ``StateDecodeError`` where it would not lie inside.
        """
        itemsize = 1 if bytewise else dtype.itemsize
        if bytewise and (not shape or shape[-1] != dtype.itemsize):
            raise StateDecodeError(f"elements of {dtype} have {dtype.itemsize} bytes, and shape {shape} has others")
        placed = check_within(self.flat.nbytes, itemsize=itemsize, shape=shape, strides=strides, offset=offset)
        if strides is None and (layout is not None or flip):
            key = (dtype, shape, offset, str(layout), str(flip))
            if key not in self._laid_out:
                source = _array(self.flat, dtype, shape, placed, offset, bytewise)
                self._laid_out[key] = _laid_out(source, shape, layout, flip, bytewise)
            return self._laid_out[key].view()
        return _flipped(_array(self.flat, dtype, shape, placed, offset, bytewise), flip)


def _array(
    flat: Array, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...], offset: int, bytewise: bool
) -> Array:
    """Return the array in `flat`; strides count elements, or bytes where the last dimension is that of the bytes."""
    if bytewise and dtype.itemsize > 1 and strides[-1] != 1:
        raise StateDecodeError("the bytes of one element do not lie side by side")
    shape = shape[:-1] if bytewise else shape
    steps = strides[:-1] if bytewise else tuple(stride * dtype.itemsize for stride in strides)
    if 0 in shape or not dtype.itemsize:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, flat, offset, steps)


def _laid_out(source: Array, shape: tuple[int, ...], layout: JSON, flip: JSON, bytewise: bool) -> Array:
    """Copy into memory of its own with the strides `layout`, without gaps, and the dimensions of `flip` backwards."""
    strides: Any = c_strides(shape) if layout is None else layout
    if not isinstance(strides, list | tuple) or not all(type(stride) is int for stride in strides):
        raise StateDecodeError(f"the layout {layout!r} of an array is no list of strides")
    items = source.size * (source.itemsize if bytewise else 1)
    check_within(items, itemsize=1, shape=shape, strides=tuple(strides), offset=0)
    if not is_dense(shape, strides):
        raise StateDecodeError(f"the layout {layout} of an array of shape {shape} leaves gaps")
    memory = np.empty(source.nbytes, np.uint8)
    result = _flipped(_array(memory, source.dtype, shape, tuple(strides), 0, bytewise), flip)
    as_bytes(result, writeable=True)[...] = as_bytes(source)
    return result


def _flipped(array: Array, flip: JSON) -> Array:
    if not flip:
        return array
    if not isinstance(flip, list) or not all(type(axis) is int and 0 <= axis < array.ndim for axis in flip):
        raise StateDecodeError(f"an array of {array.ndim} dimensions cannot be turned round in {flip!r}")
    return np.flip(array, tuple(axis for axis in flip if isinstance(axis, int)))
