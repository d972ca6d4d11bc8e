"""The numbered rules of ``model_checkpoint.contracts.framework``, held against every built-in adapter."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model_checkpoint.contracts import Buffer, FrameworkAdapter, TensorView, TypedLeaf
from model_checkpoint.frameworks import numpy as numpy_plugin
from model_checkpoint.frameworks import state_dict as state_dict_plugin
from model_checkpoint.frameworks import torch as torch_plugin
from model_checkpoint.frameworks.torch_data import ResumableLoader


class Plain:
    def __init__(self, n: int) -> None:
        self.n = n

    def state_dict(self) -> dict[str, int]:
        return {"n": self.n}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.n = state["n"]

    def check_state_dict(self, state: Mapping[str, int]) -> dict[str, str]:
        return {} if set(state) == {"n"} else dict.fromkeys(state, "is not n")


def trained(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(seed):
        model(torch.full((4, 2), float(seed))).sum().backward()
        optimizer.step()
    return model, optimizer


def loader(seed: int) -> ResumableLoader:
    made = ResumableLoader(torch.arange(9), batch_size=2, shuffle=True)
    for _ in zip(range(seed), made, strict=False):
        pass
    return made


@dataclass(frozen=True)
class Case:
    """An object of an adapter: two of the same make in different states, and a state that fits neither."""

    adapter: Callable[[], FrameworkAdapter]
    make: Callable[[int], Any]
    wrong: Callable[[Any], object]


def changed(state: Any) -> Any:
    """The same state without its first key, with another one."""
    first = next(iter(state))
    return {key: value for key, value in state.items() if key != first} | {"another": 1}


TORCH, NUMPY, OTHERS = torch_plugin.create_adapter, numpy_plugin.create_adapter, state_dict_plugin.create_adapter
CASES = {
    "module": Case(TORCH, lambda seed: trained(seed)[0], changed),
    "optimizer": Case(TORCH, lambda seed: trained(seed)[1], lambda state: {**state, "param_groups": []}),
    "scheduler": Case(TORCH, lambda seed: torch.optim.lr_scheduler.StepLR(trained(1)[1], seed), changed),
    "scaler": Case(TORCH, lambda seed: torch.amp.GradScaler("cpu", init_scale=float(seed)), changed),
    "torch generator": Case(TORCH, lambda seed: torch.Generator().manual_seed(seed), changed),
    "tensor": Case(TORCH, lambda seed: torch.full((2, 3), float(seed)), lambda state: state[1:]),
    "array": Case(NUMPY, lambda seed: np.full((2, 3), float(seed)), lambda state: state[1:]),
    "numpy generator": Case(NUMPY, lambda seed: np.random.default_rng(seed), changed),
    "bit generator": Case(NUMPY, lambda seed: np.random.MT19937(seed), changed),
    "random state": Case(NUMPY, lambda seed: np.random.RandomState(seed), changed),
    "any object": Case(OTHERS, lambda seed: Plain(seed), changed),
    "loader": Case(OTHERS, loader, lambda state: {**state, "seed": 1, "batch_size": 3}),
}
of_each_object = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
of_each_adapter = pytest.mark.parametrize("create", [TORCH, NUMPY, OTHERS])


def bits(value: Any) -> Any:
    """Turn tensors and arrays into bytes, so that == compares bits."""
    if isinstance(value, torch.Tensor):
        return bits(value.detach().numpy())
    if isinstance(value, np.ndarray):
        return (value.dtype, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value


def streams() -> object:
    return bits([list(random.getstate()), np.random.get_state(legacy=False), torch.get_rng_state()])


def only_plain_values(adapter: FrameworkAdapter, value: object) -> bool:
    if isinstance(value, dict):
        return all(only_plain_values(adapter, item) for item in (*value.keys(), *value.values()))
    if isinstance(value, list | tuple):
        return all(only_plain_values(adapter, item) for item in value)
    return isinstance(value, int | float | str | None) or adapter.view(value) is not None


@of_each_object
def test_rule_1_capturing_gives_nested_plain_values_and_changes_nothing(case: Case) -> None:
    adapter, obj = case.adapter(), case.make(2)
    assert adapter.claims(obj)
    before = streams()
    first = adapter.capture(obj)
    frozen = copy.deepcopy(bits(first))
    assert only_plain_values(adapter, first)
    assert bits(adapter.capture(obj)) == frozen
    assert streams() == before


def test_rule_1_captured_tensors_are_the_live_ones() -> None:
    model, optimizer = trained(1)
    for obj, tensor in ((model, model[0].weight), (optimizer, optimizer.state[model[0].weight]["exp_avg"])):  # type: ignore[index]
        pointers = set()

        def collect(value: Any, pointers: set[int] = pointers) -> None:
            if isinstance(value, torch.Tensor):
                pointers.add(value.data_ptr())
            elif isinstance(value, dict):
                for item in value.values():
                    collect(item)

        collect(TORCH().capture(obj))
        assert tensor.data_ptr() in pointers


@of_each_object
def test_rule_2_a_second_object_gets_the_same_state_bit_for_bit(case: Case) -> None:
    adapter, source, live = case.adapter(), case.make(2), case.make(1)
    state = copy.deepcopy(adapter.capture(source))
    expected = copy.deepcopy(bits(state))
    assert bits(adapter.capture(live)) != expected
    assert not adapter.check(live, state)
    adapter.restore_into(live, state, strict=True)
    assert bits(adapter.capture(live)) == expected
    assert bits(state) == expected


@of_each_object
def test_rule_3_checking_reports_differences_and_changes_nothing(case: Case) -> None:
    adapter, live = case.adapter(), case.make(1)
    wrong = case.wrong(copy.deepcopy(adapter.capture(case.make(2))))
    before, held = copy.deepcopy(bits(adapter.capture(live))), copy.deepcopy(bits(wrong))
    assert adapter.check(live, wrong)
    adapter.restore_into(live, wrong, strict=False) if not isinstance(live, nn.Module) else None
    assert bits(adapter.capture(live)) == before
    assert bits(wrong) == held


@of_each_object
def test_rule_3_a_state_of_another_kind_altogether_is_a_difference(case: Case) -> None:
    adapter, live = case.adapter(), case.make(1)
    if isinstance(live, Plain | torch.amp.GradScaler):
        pytest.skip("it leaves the judgement to the object")
    before = copy.deepcopy(bits(adapter.capture(live)))
    for state in (None, 3, "text", [1]):
        assert adapter.check(live, state)
    assert bits(adapter.capture(live)) == before


def buffer_of(view: TensorView) -> Buffer:
    return Buffer("b", view.dtype, view.shape, memoryview(bytearray(view.contiguous())))


LEAVES: list[tuple[Callable[[], FrameworkAdapter], Any]] = [
    (TORCH, torch.arange(6.0).reshape(2, 3)), (TORCH, torch.arange(6).reshape(2, 3).T), (TORCH, torch.tensor(1.5)),
    (TORCH, nn.Parameter(torch.ones(2, 2))), (TORCH, torch.zeros(0, 3)),
    (TORCH, torch.ones(2, dtype=torch.float8_e4m3fn)), (NUMPY, np.arange(3)[::-1]),
    (NUMPY, np.arange(6.0).reshape(2, 3)), (NUMPY, np.asfortranarray(np.arange(6).reshape(2, 3))),
    (NUMPY, np.array(["ab", "c"])), (NUMPY, np.array(5)), (NUMPY, np.zeros((0, 2), ">f4")),
]  # fmt: skip


def strides(value: Any) -> Any:
    return value.stride() if isinstance(value, torch.Tensor) else value.strides


@pytest.mark.parametrize(("create", "value"), LEAVES)
def test_rule_4_viewing_and_rebuilding_are_inverse(create: Callable[[], FrameworkAdapter], value: Any) -> None:
    adapter = create()
    view = adapter.view(value)
    assert isinstance(view, TensorView)
    assert str(view.attributes["as"]).startswith(f"{adapter.name}.")
    buffer = buffer_of(view)
    assert buffer.nbytes == view.itemsize * int(np.prod(view.shape))
    base = adapter.from_buffer(buffer, None)
    assert adapter.from_buffer(buffer, base) is base
    twins = [
        adapter.from_view(base, dtype=view.dtype, shape=view.shape, strides=None, offset=0, attributes=view.attributes)
        for _ in range(2)
    ]
    for back in twins:
        assert (type(back), back.dtype, tuple(back.shape)) == (type(value), value.dtype, tuple(value.shape))  # type: ignore[attr-defined]
        assert 0 in value.shape or strides(back) == strides(value)
        assert adapter.view(back).contiguous() == view.contiguous()  # type: ignore[union-attr]
    if 0 not in value.shape:
        places = [adapter.view(back) for back in twins]
        assert places[0].memory == places[1].memory  # type: ignore[union-attr]


@pytest.mark.parametrize(("create", "value"), [
    (TORCH, torch.bfloat16), (TORCH, torch.device("cuda:1")), (TORCH, torch.Size([1, 2])), (TORCH, torch.channels_last),
    (NUMPY, np.float32(0.5)), (NUMPY, np.dtype(">i4")), (NUMPY, np.datetime64("2026-01-01")),
])  # fmt: skip
def test_rule_4_small_values_come_back_too(create: Callable[[], FrameworkAdapter], value: Any) -> None:
    adapter = create()
    leaf = adapter.view(value)
    assert isinstance(leaf, TypedLeaf)
    assert leaf.kind.startswith(f"{adapter.name}.")
    back = adapter.from_leaf(leaf.kind, leaf.value)
    assert type(back) is type(value)
    assert back == value


@of_each_adapter
def test_rule_4_what_is_not_its_own_is_no_leaf(create: Callable[[], FrameworkAdapter]) -> None:
    assert [create().view(value) for value in (3, "text", None, object(), Plain, [torch.ones(1)])] == [None] * 6


@of_each_adapter
def test_rule_5_streams_are_captured_without_drawing_and_go_on(create: Callable[[], FrameworkAdapter]) -> None:
    adapter = create()
    before = streams()
    state = copy.deepcopy(adapter.capture_rng())
    assert streams() == before
    if state is None:
        return
    expected = [(float(torch.rand(())), float(np.random.randn())) for _ in range(3)]
    adapter.restore_rng(state)
    again = [(float(torch.rand(())), float(np.random.randn())) for _ in range(3)]
    which = 0 if adapter.name == "torch" else 1
    assert [draw[which] for draw in again] == [draw[which] for draw in expected]
