"""Objects and plain containers are captured under their own names, checked, and restored in place."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from model_checkpoint.checkpoint.capture import OBJECTS, RNG, capture, check, restore_into
from model_checkpoint.checkpoint.rng import capture_rng, restore_rng
from model_checkpoint.checkpoint.tree import FlatTree
from model_checkpoint.errors import StateDecodeError, UnstorableStateError
from model_checkpoint.kernel.adapters import AdapterSet

Reread = Callable[[FlatTree], Any]


class Pair(NamedTuple):
    model: nn.Module
    n: int


@pytest.fixture
def stored(adapters: AdapterSet, reread: Reread) -> Callable[[object], Any]:
    """What a checkpoint of one object gives back."""
    return lambda obj: reread(capture({"x": obj}, adapters, with_rng=False))[OBJECTS]["x"]


def net(fill: float, features: int = 2) -> nn.Linear:
    model = nn.Linear(features, 1)
    nn.init.constant_(model.weight, fill)
    return model


def test_buffers_bear_the_names_of_the_objects(adapters: AdapterSet) -> None:
    model = net(1.0)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).backward()
    optimizer.step()
    flat = capture({"model": model, "optimizer": optimizer, "w": torch.zeros(1)}, adapters)
    names = [buffer.name for buffer in flat.buffers]
    assert names[:4] == ["model.weight", "model.bias", "optimizer.state[0].step", "optimizer.state[0].exp_avg"]
    assert {"w", "rng.torch.cpu", "rng.numpy.state.key"} < set(names)


def test_problems_are_told_as_the_user_names_the_objects(adapters: AdapterSet) -> None:
    with pytest.raises(UnstorableStateError) as refused:
        capture({"state": {"schedule": {"fn": lambda: 1}}, "fn": print}, adapters)
    assert [path for path, _ in refused.value.problems] == ["state.schedule.fn", "fn"]


def test_capturing_changes_no_random_stream_and_restoring_continues_all(adapters: AdapterSet, reread: Reread) -> None:
    def draw() -> list[object]:
        return [random.random(), float(torch.rand(())), float(np.random.rand()), float(np.random.randn())]

    draw()
    before = reread(capture({}, adapters))
    expected = [draw() for _ in range(3)]
    restore_rng(adapters, before[RNG])
    again = reread(capture({}, adapters))
    assert [draw() for _ in range(3)] == expected
    restore_rng(adapters, again[RNG])
    assert [draw() for _ in range(3)] == expected


@pytest.mark.parametrize(
    "streams",
    [
        {"python": 3}, {"python": (3, (1, 2), None)}, {"python": (3, ("x",) * 625, None)}, {"torch": 3},
        {"torch": {"cpu": 3}}, {"numpy": {"bit_generator": "PCG64"}},
        {"torch": {"cpu": torch.zeros(7, dtype=torch.uint8)}},
        {"torch": {"cpu": torch.zeros(5056, dtype=torch.uint8)}},
        {"numpy": {}}, {"numpy": 5},
    ],
)  # fmt: skip
def test_a_stream_that_is_none_is_a_typed_error(adapters: AdapterSet, streams: dict[str, object]) -> None:
    with pytest.raises(StateDecodeError, match="random"):
        restore_rng(adapters, streams)


def test_a_position_outside_of_the_stream_never_reaches_numpy(adapters: AdapterSet) -> None:
    streams: Any = capture_rng(adapters)
    streams["numpy"] = {**streams["numpy"], "state": {**streams["numpy"]["state"], "pos": 10**6}}
    with pytest.raises(StateDecodeError, match=r"state\.pos"):
        restore_rng(adapters, streams)


def test_a_stream_of_a_framework_that_is_not_installed_is_left_out(adapters: AdapterSet) -> None:
    restore_rng(adapters, {"jax": {"key": 1}})


def test_plain_containers_are_filled_in_place(adapters: AdapterSet, stored: Callable[[object], Any]) -> None:
    state = stored({"step": 5, "inner": {"a": 1}, "list": [1, 2, 3], "new": {1: 2}})
    inner, numbers = {"a": 0, "old": 1}, [9]
    live: dict[str, object] = {"gone": 1, "inner": inner, "list": numbers, "step": 0}
    assert not check(live, state, adapters)
    restore_into(live, state, adapters, strict=True)
    assert live == {"step": 5, "inner": {"a": 1}, "list": [1, 2, 3], "new": {1: 2}}
    assert live["inner"] is inner
    assert live["list"] is numbers


def test_objects_within_containers_are_restored_in_place(adapters: AdapterSet, stored: Callable[[object], Any]) -> None:
    def objects(fill: float) -> dict[str, Any]:
        return {
            "net": net(fill), "more": [{"t": torch.full((2,), fill)}, (net(fill), 3)], "pair": Pair(net(fill), 1),
            "array": np.full(3, fill), "rng": np.random.default_rng(int(fill)),
            7: torch.Generator().manual_seed(int(fill)),
        }  # fmt: skip

    source, live = objects(1.0), objects(2.0)
    source["rng"].random(3)
    state = stored(source)
    kept = [
        live["net"],
        live["more"],
        live["more"][0]["t"],
        live["more"][1][0],
        live["pair"].model,
        live["array"],
        live[7],
    ]
    addresses = [live["net"].weight.data_ptr(), live["more"][0]["t"].data_ptr()]
    assert not check(live, state, adapters)
    restore_into(live, state, adapters, strict=True)
    now = [
        live["net"],
        live["more"],
        live["more"][0]["t"],
        live["more"][1][0],
        live["pair"].model,
        live["array"],
        live[7],
    ]
    assert all(a is b for a, b in zip(kept, now, strict=True))
    assert addresses == [live["net"].weight.data_ptr(), live["more"][0]["t"].data_ptr()]
    for module in (live["net"], live["more"][1][0], live["pair"].model):
        assert module.weight.tolist() == [[1.0, 1.0]]
    assert live["more"][0]["t"].tolist() == [1.0, 1.0]
    assert live["more"][1][1] == 3
    assert live["pair"].n == 1
    assert live["array"].tolist() == [1.0, 1.0, 1.0]
    assert live["rng"].random() == source["rng"].random()
    assert torch.equal(live[7].get_state(), source[7].get_state())


def test_mismatches_within_containers_are_all_found_and_change_nothing(
    adapters: AdapterSet, stored: Callable[[object], Any]
) -> None:
    state = stored({"a": {"net": net(1.0)}, "t": [torch.zeros(2)], "d": {}, "kind": {"x": 1}, "n": np.zeros(2), "m": 3})
    live = {
        "a": {"net": net(2.0, features=3)},
        "t": [torch.ones(3)],
        "d": {"lost": net(2.0)},
        "kind": [1],
        "m": net(2.0),
    }
    live["n"] = np.zeros(2, np.float32)
    found = check(live, state, adapters)
    assert found.missing == ("d.lost",)
    assert found.mismatched == {
        "a.net.weight": "shape (1, 2) stored, (1, 3) live",
        "t[0]": "shape (2,) stored, (3,) live",
        "kind": "dict stored, list live",
        "m": "int stored, where a state dict is needed",
        "n": "dtype float64 stored, float32 live",
    }
    assert live["t"][0].tolist() == [1.0, 1.0, 1.0]  # type: ignore[index,union-attr]


def test_what_does_not_fit_is_left_as_it_is_where_strictness_is_off(
    adapters: AdapterSet, stored: Callable[[object], Any]
) -> None:
    state = stored({"a": net(1.0), "t": torch.zeros(2), "m": 3, "held": 4, "fine": torch.zeros(3), "plain": 1})
    lost, live_t = net(5.0), torch.ones(3)
    live: dict[str, Any] = {
        "a": net(2.0, features=3),
        "t": live_t,
        "m": lost,
        "only": lost,
        "held": [lost],
        "fine": torch.ones(3),
    }
    restore_into(live, state, adapters, strict=False)
    assert live["a"].weight.tolist() == [[2.0, 2.0, 2.0]]
    assert live["a"].bias.tolist() == state["a"]["bias"].tolist()
    assert live["t"] is live_t
    assert live_t.tolist() == [1.0, 1.0, 1.0]
    assert live["m"] is live["only"] is live["held"][0] is lost
    assert live["fine"].tolist() == [0.0, 0.0, 0.0]
    assert live["plain"] == 1


@pytest.mark.parametrize("live", [{"a": 1}, [1], 5, None, "text", {1}])
def test_what_cannot_take_up_a_state_is_a_mismatch(live: object, adapters: AdapterSet) -> None:
    (place,) = check(live, torch.zeros(1), adapters).mismatched
    assert place == ""


def test_a_scalar_within_a_container_becomes_what_is_stored_whatever_that_is(adapters: AdapterSet) -> None:
    live: dict[str, object] = {"best": None, "seen": {}, "at": 3}
    state = {"best": {"loss": 1.0}, "seen": None, "at": [1]}
    assert not check(live, state, adapters)
    restore_into(live, state, adapters, strict=True)
    assert live == state


def test_a_subclass_of_dict_stays_what_it_is(adapters: AdapterSet) -> None:
    live: defaultdict[str, int] = defaultdict(int)
    restore_into(live, {"a": 1}, adapters, strict=True)
    assert live["a"] == 1
    assert live["b"] == 0


@pytest.mark.parametrize(
    "make", [lambda v: torch.full((2, 3), v), lambda v: np.full((2, 3), v)], ids=["torch", "numpy"]
)
def test_a_tensor_or_array_of_its_own_is_copied_into(
    make: Callable[[float], Any], adapters: AdapterSet, stored: Callable[[object], Any]
) -> None:
    live, state = make(2.0), stored(make(1.0))
    view = live[1:]
    restore_into(live, state, adapters, strict=True)
    assert view.tolist() == [[1.0, 1.0, 1.0]]
    assert check(live, state[1:], adapters).mismatched == {"": "shape (1, 3) stored, (2, 3) live"}
    assert check(live, [1], adapters).mismatched[""].startswith("list stored")


def test_a_tensor_that_cannot_be_written_into_is_a_mismatch(adapters: AdapterSet) -> None:
    assert "memory of its own with .clone()" in check(torch.zeros(1).expand(3), torch.zeros(3), adapters).mismatched[""]
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    assert "give a copy()" in check(frozen, np.zeros(3), adapters).mismatched[""]
