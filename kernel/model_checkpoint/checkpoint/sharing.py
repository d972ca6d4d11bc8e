"""Decides which tensors share a stored buffer.

::

    one tensor, or several that are the same      its own bytes, C order: any reader of the file sees the right values
    one that meets itself (expanded, windows)     the raw bytes that it covers, under its own dtype, once
    several that overlap, one covers all          the bytes of that one; the others are strides and offsets into it
    several that overlap otherwise                the raw bytes from the first to the last of them, as uint8

Tensors that lie side by side or interleave in one storage, such as slices of a flat parameter, stay apart.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import TYPE_CHECKING

from model_checkpoint.common.strides import byte_extent, c_strides, is_c_contiguous

if TYPE_CHECKING:
    from model_checkpoint.contracts import TensorView

_ALIGNMENT = 16
"""Raw bytes begin at a multiple of this in their storage, so that the members keep an alignment they can be read at."""


@dataclass(frozen=True, slots=True)
class SharedBuffer:
    """One buffer to store, and where in it each of its tensors lies."""

    owner: int
    """Index of the tensor that gives the buffer its name."""
    dtype: str
    shape: tuple[int, ...]
    data: memoryview
    members: tuple[tuple[int, int, tuple[int, ...] | None], ...]
    """Index of a tensor, its offset in bytes, its strides or None where it is C-contiguous."""


def share(views: Sequence[TensorView], owners: Sequence[Hashable]) -> list[SharedBuffer]:
    """Return the buffers for `views`, in order of their first members. `owners` says who can read each memory."""
    alike: dict[Hashable, list[int]] = {}
    for index, (view, owner) in enumerate(zip(views, owners, strict=True)):
        turned = str(view.attributes) if view.backwards else ""
        place = (owner, view.memory, view.dtype, view.itemsize, view.shape, view.strides, view.offset, turned)
        alike.setdefault(place if prod(view.shape) else index, []).append(index)
    by_memory: dict[Hashable, list[_Placed]] = {}
    for indexes in alike.values():
        placed = _Placed(views[indexes[0]], indexes)
        by_memory.setdefault((owners[indexes[0]], placed.view.memory), []).append(placed)
    found = [_buffer(group) for memory in by_memory.values() for group in _overlapping(memory)]
    return sorted(found, key=lambda buffer: min(index for index, _, _ in buffer.members))


class _Placed:
    """A view with the bytes it covers: blocks of ``block`` bytes that repeat at multiples of ``period`` (0: one)."""

    def __init__(self, view: TensorView, indexes: list[int]) -> None:
        self.view, self.indexes = view, indexes
        self.start, self.stop = byte_extent(view.shape, view.strides, view.itemsize, view.offset)
        self.block, self.period = view.itemsize, 0
        for stride, size in sorted(zip(view.strides, view.shape, strict=True)):
            step = stride * view.itemsize
            if size > 1 and (step > self.block or self.period):
                self.period = gcd(self.period, step)
            elif size > 1:
                self.block += (size - 1) * step

    @property
    def nbytes(self) -> int:
        return prod(self.view.shape) * self.view.itemsize

    def may_meet(self, other: _Placed) -> bool:
        """False only where no byte can belong to both."""
        if self.start >= other.stop or other.start >= self.stop:
            return False
        period = gcd(self.period, other.period)
        if not period:
            return True
        apart = (other.start - self.start) % period
        return apart < self.block or period - apart < other.block

    def members(self, base: int, *, whole: bool = False) -> Iterable[tuple[int, int, tuple[int, ...] | None]]:
        usual = whole or (self.view.strides == c_strides(self.view.shape) and not self.view.backwards)
        strides = None if usual else self.view.strides
        return [(index, self.start - base, strides) for index in self.indexes]


def _overlapping(memory: list[_Placed]) -> list[list[_Placed]]:
    """Group what overlaps, directly or through others. Sweeps by address; `running` holds what has not ended yet."""
    group_of: dict[int, list[_Placed]] = {}
    running: list[_Placed] = []
    for placed in sorted(memory, key=lambda item: item.start):
        group = group_of[id(placed)] = [placed]
        running = [other for other in running if other.stop > placed.start]
        for other in running:
            joined = group_of[id(other)]
            if joined is not group and placed.may_meet(other):
                joined += group
                for each in group:
                    group_of[id(each)] = joined
                group = joined
        if placed.stop > placed.start:
            running.append(placed)
    groups = {id(group): group for group in group_of.values()}
    return [sorted(group, key=lambda item: item.indexes[0]) for group in groups.values()]


def _buffer(group: list[_Placed]) -> SharedBuffer:
    first, view = group[0], group[0].view
    if len(group) == 1:
        if first.stop - first.start >= first.nbytes:
            return _stored(first, view.shape, view.contiguous(), first.members(first.start, whole=True))
        raw = view.span(first.start, first.stop)
        return _stored(first, (len(raw) // view.itemsize,), raw, first.members(first.start))
    start, stop = min(item.start for item in group), max(item.stop for item in group)
    for item in group:
        if (item.start, item.stop) == (start, stop) and _covers(item, group):
            members = [member for each in group for member in each.members(start)]
            return _stored(item, item.view.shape, item.view.span(start, stop), members)
    start -= start % _ALIGNMENT
    raw = max(group, key=lambda item: item.stop).view.span(start, stop)
    members = [member for each in group for member in each.members(start)]
    return SharedBuffer(first.indexes[0], "uint8", (len(raw),), raw, tuple(members))


def _covers(item: _Placed, group: list[_Placed]) -> bool:
    aligned = all((other.start - item.start) % max(other.view.itemsize, 1) == 0 for other in group)
    return aligned and not item.view.backwards and is_c_contiguous(item.view.shape, item.view.strides)


def _stored(
    owner: _Placed,
    shape: tuple[int, ...],
    data: memoryview,
    members: Iterable[tuple[int, int, tuple[int, ...] | None]],
) -> SharedBuffer:
    return SharedBuffer(owner.indexes[0], owner.view.dtype, shape, data, tuple(members))
