"""Modules, scalers and generators of torch are compared before, and restored into the memory that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from model_checkpoint.checkpoint.capture import check, restore_into
from model_checkpoint.checkpoint.rng import capture_rng, restore_rng
from model_checkpoint.kernel.adapters import AdapterSet

Stored = Callable[[object], Any]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Extra(nn.Module):
    """A module with state beside its tensors."""

    def __init__(self, note: object = None) -> None:
        super().__init__()
        self.note = note
        self.register_buffer("seen", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def get_extra_state(self) -> object:
        return {"note": self.note}

    def set_extra_state(self, state: Any) -> None:
        self.note = state["note"]


def network(width: int = 3) -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), Extra(), nn.Linear(width, 2))
    return model.to(memory_format=torch.channels_last)


def equal(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return all(torch.equal(one[key], two[key]) for key in one if isinstance(one[key], torch.Tensor))


def test_a_module_is_restored_into_the_memory_that_it_has(adapters: AdapterSet, stored: Stored) -> None:
    source, live = network(), network()
    source[2].note = {"a": (1, None)}
    source[1](torch.randn(4, 3, 2, 2))
    addresses = [tensor.data_ptr() for tensor in (*live.parameters(), *live.buffers())]
    state = stored(source)
    assert not check(live, state, adapters)
    restore_into(live, state, adapters, strict=True)
    assert equal(live, source)
    assert live[2].note == {"a": (1, None)}
    assert [tensor.data_ptr() for tensor in (*live.parameters(), *live.buffers())] == addresses
    assert state._metadata[""] == {"version": 1}


def test_every_difference_of_a_module_is_told_at_once_and_nothing_changes(adapters: AdapterSet, stored: Stored) -> None:
    source, live = (
        network(3),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(3).double(), nn.Identity(), nn.Linear(3, 2, bias=False)),
    )
    live.add_module("more", nn.Linear(1, 1))
    before = {key: value.clone() for key, value in live.state_dict().items()}
    found = check(live, stored(source), adapters)
    assert set(found.missing) == {"more.weight", "more.bias"}
    assert set(found.unexpected) == {"2.seen", "2._extra_state", "3.bias"}
    assert found.mismatched["0.weight"] == "shape (3, 1, 3, 3) stored, (4, 1, 3, 3) live"
    assert found.mismatched["1.running_mean"] == "dtype float32 stored, float64 live"
    restore_into(live, stored(source), adapters, strict=False)
    after = live.state_dict()
    assert {key for key in before if not torch.equal(before[key], after[key])} <= {"3.weight", "1.num_batches_tracked"}
    assert torch.equal(after["3.weight"], source.state_dict()["3.weight"])


def test_what_is_no_state_dict_is_a_mismatch_and_left_alone(adapters: AdapterSet) -> None:
    for state in (3, [torch.ones(1)], None, torch.ones(1)):
        assert "state dict is needed" in check(network(), state, adapters).mismatched[""]
        restore_into(network(), state, adapters, strict=False)
    assert check(nn.Linear(1, 1), {"weight": 3, "bias": None}, adapters).mismatched == {
        "weight": "int stored, a tensor live", "bias": "NoneType stored, a tensor live",
    }  # fmt: skip


class Wrapper(nn.Module):
    """Names its parameters as DataParallel does, which needs no devices."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_a_wrapped_model_against_a_bare_one_is_told_what_to_do(adapters: AdapterSet, stored: Stored) -> None:
    wrapped, bare = Wrapper(network()), network()
    compiled = torch.compile(network())
    assert "pass a model that is wrapped in the same way" in check(bare, stored(wrapped), adapters).mismatched[""]
    assert "wrapped.module" in check(wrapped, stored(bare), adapters).mismatched[""]
    assert "torch.compile" in check(bare, stored(compiled), adapters).mismatched[""]
    assert "compiled._orig_mod" in check(compiled, stored(bare), adapters).mismatched[""]
    assert not check(torch.compile(network()), stored(compiled), adapters)
    assert not check(nn.DataParallel(network()), stored(wrapped), adapters)


def test_a_lazy_module_takes_its_shape_from_the_checkpoint(adapters: AdapterSet, stored: Stored) -> None:
    source, live = nn.Linear(3, 2), nn.LazyLinear(2)
    assert not check(live, stored(source), adapters)
    restore_into(live, stored(source), adapters, strict=True)
    assert equal(live, source)


def test_a_module_on_the_meta_device_is_a_mismatch(adapters: AdapterSet, stored: Stored) -> None:
    live = nn.Linear(3, 2, device="meta")
    assert "to_empty" in check(live, stored(nn.Linear(3, 2)), adapters).mismatched["weight"]


def test_quiet_and_signalling_nans_survive_a_restore(adapters: AdapterSet, stored: Stored) -> None:
    source, live = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    patterns = torch.tensor([[0x7FC0_1234, 0x7F80_0001]], dtype=torch.int32)
    source.weight.data = patterns.view(torch.float32)
    restore_into(live, stored(source), adapters, strict=True)
    assert torch.equal(live.weight.detach().view(torch.int32), patterns)


@pytest.mark.parametrize("word", ["float8_e4m3fn", "int4", "complex64", "bool"])
def test_a_tensor_of_any_dtype_is_copied_into(word: str, adapters: AdapterSet, stored: Stored) -> None:
    def make(value: int) -> torch.Tensor:
        memory = torch.full((64,), value, dtype=torch.uint8)
        return torch.empty(0, dtype=getattr(torch, word)).set_(memory.untyped_storage(), 0, (2, 2))

    live = make(0)
    restore_into(live, stored(make(1)), adapters, strict=True)
    assert set(bytes(live.untyped_storage()[: 4 * live.element_size()])) == {1}


def test_a_leaf_that_wants_gradients_is_copied_into(adapters: AdapterSet) -> None:
    live = torch.zeros(2, requires_grad=True)
    restore_into(live, torch.ones(2), adapters, strict=True)
    assert live.tolist() == [1.0, 1.0]
    assert live.is_leaf


def test_a_gradient_scaler_is_restored_and_a_disabled_one_refused(adapters: AdapterSet, stored: Stored) -> None:
    source, live = (torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3) for scale in (8.0, 2.0))
    source.scale(torch.ones(1))
    state = stored(source)
    assert not check(live, state, adapters)
    restore_into(live, state, adapters, strict=True)
    assert live.state_dict() == source.state_dict()
    off = torch.amp.GradScaler("cpu", enabled=False)
    assert set(check(live, stored(off), adapters).missing) == set(state)
    assert set(check(off, state, adapters).unexpected) == set(state)


def test_a_generator_goes_on_and_another_kind_is_refused(adapters: AdapterSet, stored: Stored) -> None:
    source, live = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    torch.randn(3, generator=source)
    state = stored(source)
    expected = torch.randn(5, generator=source)
    restore_into(live, state, adapters, strict=True)
    assert torch.equal(torch.randn(5, generator=live), expected)
    for wrong in ({"device": "cuda", "state": state["state"]}, {"device": "cpu", "state": state["state"][:9]}, 3, {}):
        assert check(live, wrong, adapters).mismatched
        restore_into(live, wrong, adapters, strict=False)


def test_the_global_stream_goes_on(adapters: AdapterSet) -> None:
    streams: Any = capture_rng(adapters)
    expected = torch.rand(3)
    restore_rng(adapters, streams)
    assert torch.equal(torch.rand(3), expected)
    if not torch.cuda.is_available():
        streams["torch"]["cuda"] = [torch.zeros(16, dtype=torch.uint8)]
        with pytest.warns(UserWarning, match="1 cuda devices and this process has 0"):
            restore_rng(adapters, streams)


def test_embeddings_with_sparse_gradients_go_on(adapters: AdapterSet, stored: Stored) -> None:
    def make(seed: int) -> tuple[nn.Embedding, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        table = nn.Embedding(20, 3, sparse=True)
        return table, torch.optim.SparseAdam(table.parameters(), lr=0.1)

    def step(table: nn.Embedding, optimizer: torch.optim.Optimizer, index: int) -> None:
        optimizer.zero_grad()
        table(torch.tensor([index, index, 3])).pow(2).sum().backward()
        optimizer.step()

    source, live = make(1), make(2)
    step(*source, 5)
    for obj, twin in zip(source, live, strict=True):
        restore_into(twin, stored(obj), adapters, strict=True)
    step(*source, 6)
    step(*live, 6)
    assert equal(source[0], live[0])


def test_objects_of_user_classes_that_inherit_from_torch_are_found_by_their_methods(
    adapters: AdapterSet, stored: Stored
) -> None:
    class Sampler(torch.utils.data.Sampler[int]):
        at = 0

        def state_dict(self) -> dict[str, int]:
            return {"at": self.at}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.at = state["at"]

    source, live = Sampler(), Sampler()
    source.at = 7
    restore_into(live, stored(source), adapters, strict=True)
    assert live.at == 7


@NEEDS_GPU
def test_a_module_and_its_optimizer_on_a_gpu_are_restored_there(adapters: AdapterSet, stored: Stored) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.Linear(2, 2, device="cuda")
        return model, torch.optim.AdamW(model.parameters(), fused=True)

    source, live = make(), make()
    source[0](torch.ones(1, 2, device="cuda")).sum().backward()
    source[1].step()
    for obj, twin in zip(source, live, strict=True):
        restore_into(twin, stored(obj), adapters, strict=True)
    assert equal(source[0], live[0])
    assert {value.device.type for value in live[1].state_dict()["state"][0].values()} == {"cuda"}


@NEEDS_GPU
def test_the_streams_of_all_gpus_go_on(adapters: AdapterSet) -> None:
    torch.rand(1, device="cuda")
    streams = capture_rng(adapters)
    expected = torch.rand(3, device="cuda")
    restore_rng(adapters, streams)
    assert torch.equal(torch.rand(3, device="cuda"), expected)


def test_capturing_wakes_no_accelerator(adapters: AdapterSet) -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        pytest.skip("CUDA is in use in this process")
    capture_rng(adapters)
    assert not torch.cuda.is_initialized()
