"""A tree is data from elsewhere: whatever it holds, reading it gives tensors inside their buffers or a typed error."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.checkpoint.tree import FlatTree, flatten, unflatten
from model_checkpoint.contracts import Buffer, FrameworkAdapterDescriptor
from model_checkpoint.errors import StateDecodeError
from model_checkpoint.frameworks.torch_adapter import TorchAdapter
from model_checkpoint.kernel.adapters import AdapterSet
from model_checkpoint.plugins import Registry


def node(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {"$": "tensor", "buffer": "b", "dtype": "float32", "shape": [4]}
    return made | {"attributes": {"as": "torch.tensor"}} | changes


NUMPY = {"as": "numpy.array"}
HOSTILE: list[object] = [
    node(dtype="uint8", shape=[17]), node(dtype="uint8", shape=[17], attributes=NUMPY),
    node(shape=[2, 2], attributes={"as": "torch.tensor", "layout": [1, 1]}),
    node(shape=[2, 2], attributes=NUMPY | {"layout": [1, 1]}),
    {"$": "code", "v": "import os"}, {"$": "tensor"}, node(buffer="gone"), node(buffer=["b"]), node(buffer=None),
    node(dtype=3), node(dtype="quint8"), node(dtype="__class__"), node(dtype="float33"), node(shape=[5]),
    node(shape=[-4]), node(shape=["4"]), node(shape=4), node(shape=None), node(shape=[True]), node(shape=[4.0]),
    node(shape=[2**62]), node(shape=[2**40, 2**40]), node(shape=[0, 2**63]), node(shape=[1] * 65),
    node(shape=[2**62, 4], strides=[0, 1]), node(strides=[2]), node(strides=[-1]), node(strides=[1, 1]),
    node(strides="1"), node(strides=[2**62]), node(offset=4), node(offset=-4), node(offset=2**62),
    node(offset=1, shape=[1]), node(offset="0"), node(offset=None), node(offset=17, shape=[0]),
    node(attributes=None), node(attributes={}), node(attributes={"as": 1}), node(attributes={"as": "os.system"}),
    node(attributes={"as": "torch.jit"}), node(attributes={"as": "torch.tensor", "requires_grad": "yes"}),
    node(attributes={"as": "torch.tensor", "layout": [2]}), node(attributes={"as": "torch.tensor", "layout": "x"}),
    node(attributes={"as": "torch.tensor", "layout": [-1]}),
    node(attributes={"as": "torch.tensor", "layout": [1, 1]}),
    node(dtype="int32", attributes={"as": "torch.parameter"}), node(attributes=NUMPY, shape=[5]),
    node(attributes=NUMPY, strides=[2]), node(attributes=NUMPY, dtype="bfloat16"),
    node(attributes=NUMPY | {"dtype": "O"}), node(attributes=NUMPY | {"dtype": "O"}, dtype="uint8", shape=[2, 8]),
    node(attributes=NUMPY | {"dtype": "f8"}, dtype="uint8", shape=[2, 4]),
    node(attributes=NUMPY | {"dtype": [["a", "O"]]}),
    node(attributes=NUMPY | {"dtype": "S4"}, dtype="uint8", shape=[4, 4], strides=[1, 4]),
    node(attributes=NUMPY | {"dtype": {"names": ["a"], "formats": ["O"], "offsets": [0], "itemsize": 8}}),
    node(attributes=NUMPY | {"dtype": {"names": ["a"], "formats": ["f8"], "offsets": [9], "itemsize": 8}}),
    node(attributes=NUMPY | {"class": "ndarray"}), node(attributes=NUMPY | {"flip": [1]}),
    node(attributes=NUMPY | {"flip": 1}), node(attributes=NUMPY | {"layout": [3]}),
    node(attributes=NUMPY | {"layout": {}}), node(attributes={"as": "numpy.fft"}), {"$": "leaf"},
    {"$": "leaf", "kind": "torch.dtype", "v": "nn"}, {"$": "leaf", "kind": "torch.load", "v": "x"},
    {"$": "leaf", "kind": "torch.Size", "v": [-1]}, {"$": "leaf", "kind": "torch.Size", "v": 3},
    {"$": "leaf", "kind": 3}, {"$": "leaf", "kind": "torch.device", "v": "quantum:0"},
    {"$": "leaf", "kind": "os.path", "v": 1},
    {"$": "leaf", "kind": "torch.sparse", "v": {"layout": "sparse_coo", "parts": [], "size": [1]}},
    {"$": "leaf", "kind": "torch.sparse", "v": {"layout": "strided", "parts": [], "size": [1]}},
    {"$": "leaf", "kind": "torch.sparse", "v": 3}, {"$": "leaf", "kind": "numpy.dtype", "v": "O"},
    {"$": "leaf", "kind": "numpy.scalar", "v": {"dtype": "O", "data": {"$": "bytes", "v": "AAAAAAAAAAA="}}},
    {"$": "leaf", "kind": "numpy.scalar", "v": {"dtype": "f8", "data": {"$": "bytes", "v": "AA=="}}},
    {"$": "leaf", "kind": "numpy.masked", "v": {"data": 1, "mask": 2, "fill_value": 3, "hard": 4}},
]  # fmt: skip


@pytest.mark.parametrize("tree", HOSTILE, ids=lambda tree: json.dumps(tree)[:90])
def test_a_node_that_flatten_would_not_write_is_a_typed_error(tree: object, adapters: AdapterSet) -> None:
    buffer = Buffer("b", "float32", (4,), memoryview(bytearray(16)))
    with pytest.raises(StateDecodeError):
        unflatten({"a": [tree]}, [buffer], adapters)


class Trusting(TorchAdapter):
    """An adapter that looks at nothing that it is given."""

    name = "trusting"

    def from_view(self, base: object, **placed: object) -> object:
        return placed


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [-1]}, {"shape": [2**63]}, {"shape": [2**40, 2**40]}, {"shape": [0, 2**63]},
        {"shape": [2], "strides": [-1]}, {"shape": [2], "strides": [2**63]}, {"strides": [1, 1]}, {"strides": []},
        {"offset": -1}, {"offset": 17},
        {"shape": [1.0]}, {"shape": [True]}, {"shape": {}}, {"shape": [1] * 65}, {"attributes": []},
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_do_not_even_reach_an_adapter(changes: dict[str, object]) -> None:
    registry: Registry[FrameworkAdapterDescriptor] = Registry("adapter")
    registry.add("trusting", FrameworkAdapterDescriptor("trusting", ("torch",), Trusting), "test")
    buffer = Buffer("b", "float32", (4,), memoryview(bytearray(16)))
    assert unflatten(node(), [buffer], AdapterSet(registry))
    with pytest.raises(StateDecodeError):
        unflatten(node(**changes), [buffer], AdapterSet(registry))


def test_a_sparse_tensor_whose_indices_point_outside_is_a_typed_error(
    adapters: AdapterSet, reread: Callable[[FlatTree], object]
) -> None:
    for sparse in (torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr()):
        flat = flatten(sparse, adapters, path="")
        first, *others = flat.buffers
        wrong = np.frombuffer(first.data, np.int64) + 7
        broken = [Buffer(first.name, first.dtype, first.shape, memoryview(bytearray(wrong.tobytes()))), *others]
        with pytest.raises(StateDecodeError):
            reread(FlatTree(flat.tree, broken))


numbers = st.integers(-2, 20) | st.sampled_from([2**31, 2**62, 2**63, -(2**63), 0.5, None, True, "4"])
changes = st.fixed_dictionaries(
    {},
    optional={
        "shape": st.lists(numbers, max_size=4) | numbers,
        "strides": st.lists(numbers, max_size=4) | numbers,
        "offset": numbers,
        "dtype": st.sampled_from(["uint8", "int16", "float64", "complex128", "bool", "int4", "bits16", "bfloat16"]),
    },
)
attributes = st.fixed_dictionaries(
    {"as": st.sampled_from(["torch.tensor", "torch.parameter", "numpy.array"])},
    optional={
        "layout": st.lists(numbers, max_size=4),
        "flip": st.lists(numbers, max_size=3),
        "dtype": st.sampled_from(["<f8", "S3", ">i2", "M8[D]", "U1", "V0"]),
        "requires_grad": st.booleans(),
    },
)


@given(changes, attributes)
def test_no_tensor_reaches_outside_of_its_buffer(
    adapters: AdapterSet, changes: dict[str, object], attributes: dict[str, object]
) -> None:
    data = bytearray(64)
    tree = node(**copy.deepcopy(changes), attributes=copy.deepcopy(attributes))
    try:
        made: Any = unflatten(tree, [Buffer("b", "uint8", (64,), memoryview(data))], adapters)
    except StateDecodeError:
        return
    if isinstance(made, torch.Tensor):
        storage = made.untyped_storage()
        last = sum((n - 1) * s for n, s in zip(made.shape, made.stride(), strict=True)) if made.numel() else -1
        assert (made.storage_offset() + last + 1) * made.element_size() <= storage.nbytes() <= 64
    elif made.size and made.itemsize:
        low, high = np.lib.array_utils.byte_bounds(made)
        root = made
        while isinstance(root.base, np.ndarray):
            root = root.base
        lowest, highest = np.lib.array_utils.byte_bounds(root)
        assert lowest <= low <= high <= highest
        assert root.nbytes <= 64
