"""What a proof compares: every value that decides how a training goes on, by name, and how far two are apart."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model_checkpoint.errors import ConfigurationError
from model_checkpoint.testing.resume_leaves import Leaf, difference, leaves_of, streams


def leaves(value: Any) -> dict[str, Leaf]:
    return {leaf.path: leaf for leaf in leaves_of("x", value)}


def differing(one: Any, other: Any) -> dict[str, str]:
    first, second = leaves(one), leaves(other)
    assert first.keys() == second.keys()
    return {path: difference(first[path], second[path]) for path in first if first[path] != second[path]}


def test_a_module_counts_with_buffers_that_no_state_dict_holds_gradients_and_modes() -> None:
    def make() -> nn.Module:
        module = nn.Sequential(nn.Linear(2, 1))
        module.register_buffer("hidden", torch.zeros(2), persistent=False)
        return module

    one, other = make(), make()
    other.load_state_dict(one.state_dict())
    assert differing(one, other) == {}
    other.hidden[1] = 0.25
    other[0].bias.requires_grad_(False)
    other[0].weight.grad = torch.ones(1, 2)
    other.eval()
    assert differing(one, other) == {
        "x.0.weight.grad": "None uninterrupted, float32[1, 2] resumed",
        "x.0.bias.requires_grad": "True uninterrupted, False resumed",
        "x.hidden": "float32[2]: 1 of 2 elements differ, by at most 0.25;"
        " the first at [1]: 0.0 uninterrupted, 0.25 resumed",
        "x training": "True uninterrupted, False resumed",
    }


def test_an_optimizer_counts_with_the_gradients_of_its_parameters() -> None:
    one, other = (torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=lr) for lr in (0.5, 0.25))
    other.param_groups[0]["params"][0].grad = torch.zeros(2)
    assert differing(one, other) == {
        "x.param_groups[0].lr": "0.5 uninterrupted, 0.25 resumed, 0.25 apart",
        "x.params[0].grad": "None uninterrupted, float32[2] resumed",
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int8])
def test_the_amount_is_that_of_the_numbers_in_every_dtype(dtype: torch.dtype) -> None:
    one, other = torch.tensor([[1, 2], [3, 4]], dtype=dtype), torch.tensor([[1, 2], [5, 4]], dtype=dtype)
    (said,) = differing(one, other).values()
    assert "1 of 4 elements differ, by at most 2; the first at [1, 0]: 3" in said


def test_minus_zero_and_nan_are_compared_by_their_bits() -> None:
    assert "1 of 2 elements differ, by at most 0" in differing(torch.tensor([0.0, 1]), torch.tensor([-0.0, 1]))["x"]
    assert differing(torch.tensor(float("nan")), torch.tensor(float("nan"))) == {}
    assert "finite or not" in differing(torch.tensor(1.0), torch.tensor(float("nan")))["x"]


def test_numbers_of_which_numpy_knows_nothing_are_compared_by_their_bits() -> None:
    one, other = (torch.tensor([value]).to(torch.float8_e4m3fn) for value in (1.0, 2.0))
    assert differing(one, other) == {"x": "float8_e4m3fn[1]: other bits"}


def test_a_sparse_tensor_counts_with_its_parts() -> None:
    assert leaves(torch.eye(3).to_sparse()).keys() == {"x.indices", "x.values"}
    assert leaves(torch.eye(3).to_sparse_csr()).keys() == {"x.crow_indices", "x.col_indices", "x.values"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: random.Random(1),
        lambda: np.random.default_rng(1),
        lambda: np.random.RandomState(1),
        lambda: torch.Generator().manual_seed(1),
    ],
)
def test_a_generator_counts_by_where_it_stands(make: Any) -> None:
    one, other = make(), make()
    assert differing(one, other) == {}
    if isinstance(other, torch.Generator):
        torch.rand(1, generator=other)
    else:
        other.random()
    assert differing(one, other) == {"x": "this random stream stands somewhere else"}


def test_all_global_streams_count() -> None:
    before = {leaf.path: leaf for leaf in streams()}
    assert {"streams.python", "streams.numpy", "streams.torch.cpu"} <= before.keys()
    random.random(), np.random.random(), torch.rand(1)
    assert all(before[leaf.path] != leaf for leaf in streams() if "cuda" not in leaf.path)


def test_nested_values_are_named_by_their_path_and_sets_have_an_order() -> None:
    assert leaves({"a": [1, (2.5,)], 3: {"b", "a"}})["x.a[1][0]"].text == "2.5"
    assert leaves({3: {"b", "a"}})["x[3]"].text == "[\"'a'\", \"'b'\"]"


def test_what_has_no_state_is_refused_by_its_path() -> None:
    with pytest.raises(ConfigurationError, match=r"x\.a is a builtins\.object"):
        leaves({"a": object()})


def test_a_value_that_only_one_of_them_has_is_told() -> None:
    leaf = leaves(1)["x"]
    assert difference(leaf, None) == "only in the uninterrupted training"
    assert difference(None, leaf) == "only in the resumed training"
