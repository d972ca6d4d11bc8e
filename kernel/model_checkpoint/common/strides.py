"""Arithmetic of strided tensors: which bytes a shape with strides covers. Strides count elements, offsets bytes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from model_checkpoint.errors import StateDecodeError

LARGEST = 2**63 - 1


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a C-contiguous tensor.

    >>> c_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_c_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Say whether the elements lie one after the other in C order; what a dimension of size 1 says does not count."""
    wanted = c_strides(shape)
    return 0 in shape or all(size == 1 or a == b for size, a, b in zip(shape, strides, wanted, strict=True))


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Say whether the elements fill their memory without gaps and overlaps, in whatever order of dimensions."""
    step = 1
    for stride, size in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n != 1):
        if stride != step:
            return False
        step *= size
    return step > 0


def byte_extent(shape: Sequence[int], strides: Sequence[int], itemsize: int, offset: int) -> tuple[int, int]:
    """Return the bytes [start, stop) from the first to the last element; empty where there is no element."""
    if 0 in shape:
        return offset, offset
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    return offset, offset + (last + 1) * itemsize


def check_within(
    nbytes: int, *, itemsize: int, shape: Sequence[int], strides: Sequence[int] | None, offset: int
) -> tuple[int, ...]:
    """Return the strides of a tensor that a stored tree places in a buffer, C-contiguous where it states none.

    Raises ``StateDecodeError`` where one element would lie outside of the buffer's `nbytes`, or where numbers are
    negative or too large for any machine.
    """
    numbers = (*shape, *(strides or ()), offset)
    sizes = prod(max(size, 1) for size in shape) * max(itemsize, 1)
    if any(not 0 <= number <= LARGEST for number in numbers) or sizes > LARGEST:
        raise StateDecodeError(f"shape {tuple(shape)} with strides {strides} at byte {offset} fits no machine")
    placed = c_strides(shape) if strides is None else tuple(strides)
    if len(placed) != len(shape):
        raise StateDecodeError(f"shape {tuple(shape)} needs {len(shape)} strides, found {len(placed)}")
    _, stop = byte_extent(shape, placed, itemsize, offset)
    if stop > nbytes:
        raise StateDecodeError(
            f"shape {tuple(shape)} with strides {placed} at byte {offset} ends at byte {stop} of a buffer of {nbytes}"
        )
    return placed
