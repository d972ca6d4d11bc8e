"""Tensors and small values of torch come back as what they were; what cannot is refused with reason and remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from model_checkpoint.checkpoint.tree import flatten
from model_checkpoint.errors import UnstorableStateError
from model_checkpoint.frameworks.torch_memory import DTYPES, QUANTIZED
from model_checkpoint.kernel.adapters import AdapterSet

RoundTrip = Callable[[object], Any]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def raw(tensor: torch.Tensor) -> bytes:
    """The elements in C order, read one by one through their addresses: independent of any kernel that copies."""
    import ctypes

    size, cells = tensor.element_size(), []
    offsets = [0]
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        offsets = [base + index * stride for base in offsets for index in range(length)]
    cells = [ctypes.string_at(tensor.data_ptr() + offset * size, size) for offset in offsets]
    return b"".join(cells)


def filled(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """A tensor of `dtype` with every bit pattern that its random bytes may form, signalling NaNs among them."""
    data = torch.randint(0, 256, (math.prod(shape) * dtype.itemsize,), generator=torch.Generator().manual_seed(1))
    if dtype is torch.bool:
        data %= 2
    memory = data.to(torch.uint8)
    return torch.empty(0, dtype=dtype).set_(memory.untyped_storage(), 0, shape)


@pytest.mark.filterwarnings("ignore:.*ComplexHalf.*")
@pytest.mark.parametrize("word", sorted(word for word, dtype in DTYPES.items() if dtype not in QUANTIZED))
def test_every_dtype_comes_back_bit_for_bit_in_every_layout(
    word: str, round_trip: RoundTrip, adapters: AdapterSet
) -> None:
    whole = filled(DTYPES[word], 3, 4, 5)
    tensors = {
        "whole": whole, "transposed": filled(DTYPES[word], 3, 4).T, "gaps": filled(DTYPES[word], 6, 5)[::2, 1:3],
        "zero": filled(DTYPES[word], 3, 0, 2), "scalar": filled(DTYPES[word], 1)[0],
    }  # fmt: skip
    flat = flatten(tensors, adapters, path="")
    assert {buffer.dtype for buffer in flat.buffers} == {str(DTYPES[word]).removeprefix("torch.")}
    for name, back in round_trip(tensors).items():
        assert (back.dtype, back.shape) == (tensors[name].dtype, tensors[name].shape)
        assert raw(back) == raw(tensors[name])
    assert round_trip(tensors)["transposed"].stride() == (1, 4)


@pytest.mark.parametrize("make", [
    lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    lambda: torch.randn(2, 1, 4, 5).to(memory_format=torch.channels_last),
    lambda: torch.randn(1, 3, 4, 5).to(memory_format=torch.channels_last),
    lambda: torch.randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d),
    lambda: torch.randn(4, 3, 2).permute(2, 0, 1),
    lambda: torch.randn(1, 3).as_strided((1, 3), (77, 1)),
])  # fmt: skip
def test_the_order_of_dimensions_in_memory_is_kept(make: Callable[[], torch.Tensor], round_trip: RoundTrip) -> None:
    tensor = make()
    for back in (round_trip(tensor), round_trip([tensor, nn.Parameter(tensor)])[1]):
        assert back.stride() == tensor.stride()
        assert torch.equal(back, tensor)


def test_what_makes_a_parameter_comes_back(round_trip: RoundTrip) -> None:
    value = {
        "p": nn.Parameter(torch.ones(2)), "frozen": nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False),
        "leaf": torch.ones(2, requires_grad=True), "plain": torch.ones(2), "buffer": nn.Buffer(torch.ones(2)),
    }  # fmt: skip
    value["made"] = value["leaf"] * 2
    back = round_trip(value)
    found = {name: (type(tensor), tensor.requires_grad, tensor.is_leaf) for name, tensor in back.items()}
    assert found == {
        "p": (nn.Parameter, True, True), "frozen": (nn.Parameter, False, True), "leaf": (torch.Tensor, True, True),
        "plain": (torch.Tensor, False, True), "buffer": (torch.Tensor, False, True),
        "made": (torch.Tensor, False, True),
    }  # fmt: skip
    assert torch.equal(back["made"], value["made"])


def test_conjugate_and_negative_views_come_back_with_their_values(round_trip: RoundTrip) -> None:
    tensor = torch.tensor([1 + 2j, 3 - 4j])
    value = [tensor, tensor.conj(), tensor.conj().imag, torch._neg_view(torch.ones(2))]
    for back, expected in zip(round_trip(value), value, strict=True):
        assert torch.equal(back, expected.resolve_conj().resolve_neg())
        assert not back.is_conj()
        assert not back.is_neg()


def test_tensors_made_in_inference_mode_are_stored(round_trip: RoundTrip) -> None:
    with torch.inference_mode():
        tensor = torch.ones(3) * 2
    assert round_trip(tensor).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.filterwarnings("ignore:Sparse .* beta")
@pytest.mark.parametrize("make", [
    lambda t: t.to_sparse(), lambda t: t.to_sparse(1), lambda t: t.to_sparse_csr(), lambda t: t.to_sparse_csc(),
    lambda t: t.to_sparse_bsr((2, 2)), lambda t: t.to_sparse_bsc((2, 2)),
    lambda t: torch.sparse_coo_tensor([[0, 0], [1, 1]], [1.0, 2.0], (4, 4)), lambda t: torch.zeros(4, 4).to_sparse(),
    lambda t: t.to_sparse().requires_grad_(),
])  # fmt: skip
def test_sparse_tensors_come_back_with_their_structure(
    make: Callable[[torch.Tensor], torch.Tensor], round_trip: RoundTrip
) -> None:
    sparse = make(torch.tensor([[0.0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 4]]))
    back = round_trip({"s": sparse})["s"]
    assert (back.layout, back.shape, back.dtype) == (sparse.layout, sparse.shape, sparse.dtype)
    assert back.requires_grad == sparse.requires_grad
    assert torch.equal(back.detach().to_dense(), sparse.detach().to_dense())
    if sparse.layout is torch.sparse_coo:
        assert back.is_coalesced() == sparse.is_coalesced()
        assert torch.equal(back.detach()._indices(), sparse.detach()._indices())


def test_small_values_of_torch_come_back(round_trip: RoundTrip) -> None:
    value = [
        torch.bfloat16, torch.float8_e5m2, torch.uint4, torch.device("cuda", 3), torch.device("cpu"),
        torch.Size([2, 0, 3]), torch.Size([]), torch.strided, torch.sparse_csr, torch.channels_last,
    ]  # fmt: skip
    back = round_trip(value)
    assert back == value
    assert list(map(type, back)) == list(map(type, value))


def test_a_packed_sequence_comes_back(round_trip: RoundTrip) -> None:
    packed = nn.utils.rnn.pack_sequence([torch.ones(3), torch.zeros(2)])
    back = round_trip(packed)
    assert type(back) is type(packed)
    assert torch.equal(nn.utils.rnn.pad_packed_sequence(back)[0], nn.utils.rnn.pad_packed_sequence(packed)[0])


class Fancy(torch.Tensor):
    pass


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("make", "remedy"), [
    (lambda: torch.empty(3, device="meta"), "to_empty"),
    (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "dequantize"),
    (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "unbind"),
    (lambda: torch.ones(3).as_subclass(Fancy), "as_subclass"),
    (lambda: nn.LazyLinear(3).weight, "run one batch"),
    (lambda: torch.ones(3).to_mkldnn(), "to_dense"),
    (lambda: torch.utils.data.DataLoader([1, 2]), "ResumableLoader"),
    (lambda: torch.ones(3).untyped_storage(), "store a tensor"),
    (lambda: torch.max(torch.ones(2, 2), 0), "leave it out"),
])  # fmt: skip
def test_what_cannot_be_rebuilt_is_refused_with_what_to_do(
    make: Callable[[], object], remedy: str, adapters: AdapterSet
) -> None:
    with pytest.raises(UnstorableStateError, match=remedy) as refused:
        flatten({"a": [make()]}, adapters, path="")
    assert [path for path, _ in refused.value.problems] == ["a[0]"]


def test_a_tensor_inside_a_transform_is_refused(adapters: AdapterSet) -> None:
    with pytest.raises(UnstorableStateError, match="after they returned"):
        torch.vmap(lambda t: flatten(t, adapters, path="") and t)(torch.ones(2, 3))


@NEEDS_GPU
def test_tensors_on_a_gpu_come_back_on_the_cpu_with_their_sharing(round_trip: RoundTrip) -> None:
    memory = torch.arange(24.0, device="cuda").reshape(2, 3, 4)
    back = round_trip([memory, memory[1:], memory.permute(2, 0, 1)])
    assert {tensor.device.type for tensor in back} == {"cpu"}
    back[0].zero_()
    assert not back[1].any()
    assert not back[2].any()
