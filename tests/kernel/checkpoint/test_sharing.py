"""Tensors that share memory are stored once and share it again; what lies apart stays apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.checkpoint.tree import FlatTree, flatten
from model_checkpoint.common.strides import is_dense
from model_checkpoint.kernel.adapters import AdapterSet

RoundTrip = Callable[[object], Any]
MEMORY_NBYTES = 96
TORCH_DTYPES = (torch.uint8, torch.bool, torch.bfloat16, torch.int32, torch.float64, torch.complex64)
NUMPY_DTYPES = ("u1", "f2", ">i4", "f8", "c8", "S3", [("a", "i1"), ("b", "f4")])


def sizes_of(flat: FlatTree) -> list[int]:
    return [buffer.nbytes for buffer in flat.buffers]


@st.composite
def placements(draw: st.DrawFn, itemsize: int) -> tuple[list[int], list[int], int]:
    """Shape, strides (elements) and offset (elements) of a view that lies within the shared memory."""
    room = MEMORY_NBYTES // itemsize
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    strides = draw(st.lists(st.integers(0, 7), min_size=len(shape), max_size=len(shape)))
    while 0 not in shape and sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) >= room:
        strides = [stride // 2 for stride in strides]
    last = 0 if 0 in shape else sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    return shape, strides, draw(st.integers(0, room - 1 - last))


@st.composite
def torch_views(draw: st.DrawFn) -> list[torch.Tensor]:
    memory = torch.randint(0, 2, (MEMORY_NBYTES,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    views = []
    for dtype in draw(st.lists(st.sampled_from(TORCH_DTYPES), min_size=1, max_size=5)):
        shape, strides, offset = draw(placements(dtype.itemsize))
        views.append(memory.view(dtype).as_strided(shape, strides, offset))
    return views


@st.composite
def numpy_views(draw: st.DrawFn) -> list[np.ndarray[Any, Any]]:
    memory = np.arange(MEMORY_NBYTES, dtype=np.uint8)
    views = []
    for word in draw(st.lists(st.sampled_from(NUMPY_DTYPES), min_size=1, max_size=5)):
        dtype = np.dtype(word)
        shape, strides, offset = draw(placements(dtype.itemsize))
        steps = [stride * dtype.itemsize for stride in strides]
        view: Any = np.ndarray(tuple(shape), dtype, memory, offset * dtype.itemsize, tuple(steps))
        for axis in draw(st.sets(st.integers(0, 2))):
            view = np.flip(view, axis) if axis < view.ndim else view
        views.append(view)
    return views


def bits(tensor: Any) -> bytes:
    if isinstance(tensor, torch.Tensor):
        flat = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
        return bytes(flat.view(-1).view(torch.uint8).numpy().tobytes())
    return bytes(tensor.tobytes())


def write_everywhere(view: Any, pattern: int) -> None:
    """Overwrite the view one element at a time, which works where elements share memory too."""
    for index in itertools.product(*map(range, view.shape)):
        if isinstance(view, torch.Tensor):
            view[index].view(1).view(torch.uint8).fill_(pattern)
        else:
            view[index] = np.frombuffer(bytes([pattern]) * view.itemsize, view.dtype)[0]


def check_sharing(views: list[Any], back: list[Any]) -> None:
    """Writing through each view in turn must change the same elements of all views on both sides, and no others."""
    for a, b in zip(views, back, strict=True):
        assert (a.dtype, tuple(a.shape)) == (b.dtype, tuple(b.shape))
        assert bits(a) == bits(b)
    for number, (a, b) in enumerate(zip(views, back, strict=True)):
        write_everywhere(a, number & 1)
        write_everywhere(b, number & 1)
        assert [bits(view) for view in views] == [bits(view) for view in back]


@given(torch_views())
def test_tensors_over_one_storage_come_back_equal_and_share_what_they_shared(
    round_trip: RoundTrip, views: list[torch.Tensor]
) -> None:
    back = round_trip(views)
    for a, b in zip(views, back, strict=True):
        if a.numel() and is_dense(a.shape, a.stride()):
            assert a.stride() == b.stride()
    check_sharing(views, back)


@given(numpy_views())
def test_arrays_over_one_memory_come_back_equal_and_share_what_they_shared(
    round_trip: RoundTrip, views: list[np.ndarray[Any, Any]]
) -> None:
    check_sharing(views, round_trip(views))


def test_an_array_and_itself_turned_round_come_back_as_two_views_of_one_memory(round_trip: RoundTrip) -> None:
    array = np.arange(6).reshape(2, 3)
    for views in ([array, array[::-1]], [array[::-1], array], [array[:, ::-1], array[:, ::-1], array[::-1, ::-1]]):
        check_sharing(views, round_trip(views))


@given(torch_views() | numpy_views())
def test_what_came_back_is_stored_again_in_no_more_bytes(
    adapters: AdapterSet, reread: Callable[[FlatTree], object], views: list[Any]
) -> None:
    first = flatten(views, adapters, path="state")
    second = flatten(reread(first), adapters, path="state")
    assert sum(sizes_of(second)) <= sum(sizes_of(first))


def test_a_whole_that_runs_backwards_is_never_lent_as_its_own_dtype(adapters: AdapterSet) -> None:
    array = np.arange(6)
    (buffer,) = flatten([array[::-1], array[1:3]], adapters, path="").buffers
    assert buffer.dtype == "uint8"


def test_a_whole_in_which_another_would_lie_crooked_is_stored_with_room_before_it(round_trip: RoundTrip) -> None:
    memory = torch.zeros(16, dtype=torch.uint8)
    views = [memory[1:9], memory.view(torch.float32)[1:2]]
    check_sharing(views, round_trip(views))


def test_two_storages_of_different_lengths_over_one_memory_share_it_again(round_trip: RoundTrip) -> None:
    memory = np.zeros(16, np.uint8)
    views = [torch.from_numpy(memory[:8])[2:8], torch.from_numpy(memory)[4:16]]
    check_sharing(views, round_trip(views))


def test_a_lone_tensor_is_stored_in_c_order_whatever_its_memory_looks_like(adapters: AdapterSet) -> None:
    whole = torch.arange(24.0).reshape(2, 3, 4)
    for tensor in (whole, whole.permute(2, 0, 1), whole[:, 1:, ::2], whole[1, 2, 3]):
        (buffer,) = flatten([tensor], adapters, path="state").buffers
        assert (buffer.dtype, buffer.shape) == ("float32", tuple(tensor.shape))
        assert bytes(buffer.data) == bits(tensor)
    for array in (np.arange(6.0).reshape(2, 3).T, np.arange(6)[::-1], np.arange(9).reshape(3, 3)[1:, ::-2]):
        (buffer,) = flatten([array], adapters, path="state").buffers
        assert (buffer.dtype, buffer.shape) == (str(array.dtype), array.shape)
        assert bytes(buffer.data) == array.tobytes()


def test_contiguous_tensors_are_lent_and_not_copied(adapters: AdapterSet) -> None:
    tensor, array = torch.zeros(4), np.zeros(4)
    flat = flatten([tensor, array], adapters, path="state")
    tensor += 1
    array += 1
    assert [bytes(buffer.data) for buffer in flat.buffers] == [bits(tensor), bits(array)]


def test_tied_tensors_are_one_buffer(adapters: AdapterSet, reread: Callable[[FlatTree], Any]) -> None:
    weight = torch.nn.Parameter(torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last))
    flat = flatten({"a": weight, "b": weight, "c": weight.detach()}, adapters, path="")
    assert [(buffer.name, buffer.shape) for buffer in flat.buffers] == [("a", (3, 4, 5, 6))]
    back = reread(flat)
    assert len({tensor.data_ptr() for tensor in back.values()}) == 1
    assert [type(tensor) for tensor in back.values()] == [torch.nn.Parameter, torch.nn.Parameter, torch.Tensor]
    assert back["a"].stride() == weight.stride()


def test_views_of_a_stored_tensor_are_offsets_into_it(adapters: AdapterSet) -> None:
    flat_parameter = torch.arange(12.0)
    pieces = {"first": flat_parameter[:4].view(2, 2), "second": flat_parameter[4:].view(2, 4).T}
    flat = flatten({"pieces": pieces, "flat": flat_parameter}, adapters, path="")
    assert [(b.name, b.dtype, b.shape) for b in flat.buffers] == [("flat", "float32", (12,))]
    assert flat.tree["pieces"] == {  # type: ignore[index,call-overload]
        "first": {
            "$": "tensor", "buffer": "flat", "dtype": "float32", "shape": [2, 2], "attributes": {"as": "torch.tensor"},
        },
        "second": {
            "$": "tensor", "buffer": "flat", "dtype": "float32", "shape": [4, 2], "strides": [1, 4], "offset": 16,
            "attributes": {"as": "torch.tensor", "layout": [1, 4]},
        },
    }  # fmt: skip


def test_views_that_overlap_without_a_whole_share_raw_bytes(adapters: AdapterSet) -> None:
    memory = torch.arange(100.0)
    flat = flatten({"a": memory[10:20], "b": memory[15:30]}, adapters, path="")
    (buffer,) = flat.buffers
    assert (buffer.name, buffer.dtype) == ("a", "uint8")
    assert 20 * 4 <= buffer.nbytes < 20 * 4 + 16


@pytest.mark.parametrize(
    "slices",
    [
        lambda m: [m[0], m[1], m[999]], lambda m: [m[:, 0], m[:, 1], m[:, 999]], lambda m: [m[:, 0:4], m[:, 4:8]],
        lambda m: list(m.view(100, 10, 10, 100)[:, :, :, :20].split(10, dim=3)), lambda m: [m[::2, :2], m[1::2, :2]],
        lambda m: [m[:2, :2], m[:2, 2:4], m[2:4, :2]], lambda m: list(m.T[:3]),
    ],
    ids=["rows", "columns", "blocks of columns", "chunks of four dimensions", "every other row", "tiles", "transposed"],
)  # fmt: skip
def test_slices_that_lie_apart_do_not_drag_their_storage_along(
    slices: Callable[[torch.Tensor], list[torch.Tensor]], adapters: AdapterSet
) -> None:
    parts = slices(torch.zeros(1000, 1000))
    flat = flatten(parts, adapters, path="state")
    assert sizes_of(flat) == [part.numel() * 4 for part in parts]
    assert sizes_of(flatten([part.numpy() for part in parts], adapters, path="state")) == sizes_of(flat)


def test_an_expanded_tensor_is_stored_once_and_comes_back_expanded(
    adapters: AdapterSet, reread: Callable[[FlatTree], Any]
) -> None:
    big = {"row": torch.arange(3.0).expand(10**6, 3), "windows": torch.arange(100.0).unfold(0, 50, 1)}
    big["one"] = torch.ones(()).expand(10**9)
    flat = flatten(big, adapters, path="")
    assert sizes_of(flat) == [12, 400, 4]
    back = reread(flat)
    assert {key: tensor.stride() for key, tensor in back.items()} == {"row": (0, 1), "windows": (1, 1), "one": (0,)}
    assert all(torch.equal(back[key][:50], big[key][:50]) for key in big)
