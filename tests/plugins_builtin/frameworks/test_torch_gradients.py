"""Gradients and ``requires_grad`` come back with the optimizer; used ones are not stored, stale ones do not leak."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, optim

from model_checkpoint.checkpoint.capture import check, restore_into
from model_checkpoint.kernel.adapters import AdapterSet

Stored = Callable[[object], Any]
GRADIENTS = "parameters"


def make(count: int = 2) -> optim.Optimizer:
    return optim.SGD([nn.Parameter(torch.ones(3)) for _ in range(count)], lr=0.1, momentum=0.9)


def params_of(optimizer: optim.Optimizer) -> list[nn.Parameter]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def backward(optimizer: optim.Optimizer, factor: float = 1.0) -> None:
    sum((param * factor).square().sum() for param in params_of(optimizer)).backward()


def held(stored: Stored, optimizer: optim.Optimizer) -> dict[str, Any]:
    return stored(optimizer)[GRADIENTS]


def test_a_gradient_that_no_step_has_used_is_stored_and_comes_back(adapters: AdapterSet, stored: Stored) -> None:
    source, live = make(), make()
    backward(source)
    restore_into(live, stored(source), adapters, strict=True)
    assert [param.grad.tolist() for param in params_of(live)] == [[2.0] * 3] * 2


def test_a_gradient_that_a_step_has_used_is_not_stored(adapters: AdapterSet, stored: Stored) -> None:
    source = make()
    backward(source)
    source.step()
    assert held(stored, source) == {"frozen": [], "used": [0, 1], "gradients": {}}


def test_what_is_added_to_a_used_gradient_is_stored_again(adapters: AdapterSet, stored: Stored) -> None:
    source = make()
    backward(source)
    source.step()
    backward(source)
    assert held(stored, source)["gradients"].keys() == {0, 1}


def test_a_new_gradient_after_a_step_is_stored(adapters: AdapterSet, stored: Stored) -> None:
    source = make()
    backward(source)
    source.step()
    source.zero_grad()
    backward(source)
    assert held(stored, source)["gradients"].keys() == {0, 1}


def test_after_zero_grad_nothing_is_stored(adapters: AdapterSet, stored: Stored) -> None:
    source = make()
    backward(source)
    source.zero_grad()
    assert held(stored, source) == {"frozen": [], "used": [], "gradients": {}}


def test_a_step_that_a_scaler_skipped_leaves_its_gradients_to_be_stored(adapters: AdapterSet, stored: Stored) -> None:
    source, scaler = make(), torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(params_of(source)[0].sum() * float("inf")).backward()
    scaler.step(source)
    assert held(stored, source)["gradients"].keys() == {0}


def test_a_gradient_cleared_to_zeros_comes_back_as_zeros(adapters: AdapterSet, stored: Stored) -> None:
    source, live = make(), make()
    backward(source)
    source.step()
    source.zero_grad(set_to_none=False)
    restore_into(live, stored(source), adapters, strict=True)
    assert [param.grad.tolist() for param in params_of(live)] == [[0.0] * 3] * 2


def test_a_used_gradient_comes_back_as_zeros_and_is_not_stored_afterwards(adapters: AdapterSet, stored: Stored) -> None:
    source, live = make(), make()
    backward(source)
    source.step()
    restore_into(live, stored(source), adapters, strict=True)
    assert [param.grad.tolist() for param in params_of(live)] == [[0.0] * 3] * 2
    assert held(stored, live) == held(stored, source)


def test_a_stale_gradient_of_a_live_parameter_never_reaches_the_first_step(
    adapters: AdapterSet, stored: Stored
) -> None:
    source, live = make(), make()
    backward(live, 100.0)
    restore_into(live, stored(source), adapters, strict=True)
    assert [param.grad for param in params_of(live)] == [None, None]


def test_a_checkpoint_of_an_earlier_version_clears_gradients_and_leaves_requires_grad(
    adapters: AdapterSet, stored: Stored
) -> None:
    live = make()
    backward(live)
    params_of(live)[0].requires_grad_(False)
    state = {key: value for key, value in stored(make()).items() if key != GRADIENTS}
    assert not check(live, state, adapters)
    restore_into(live, state, adapters, strict=True)
    assert [(param.grad, param.requires_grad) for param in params_of(live)] == [(None, False), (None, True)]


def test_restored_gradients_share_no_memory_with_what_was_loaded(adapters: AdapterSet, stored: Stored) -> None:
    source, live = make(), make()
    backward(source)
    state = stored(source)
    restore_into(live, state, adapters, strict=True)
    backward(live)
    assert state[GRADIENTS]["gradients"][0].tolist() == [2.0] * 3


def test_torchs_own_loading_takes_the_stored_state_as_it_is(stored: Stored) -> None:
    source, live = make(), make()
    backward(source)
    source.step()
    live.load_state_dict(stored(source))
    assert torch.equal(
        live.state[params_of(live)[1]]["momentum_buffer"], source.state[params_of(source)[1]]["momentum_buffer"]
    )


def test_sparse_gradients_come_back_sparse(adapters: AdapterSet, stored: Stored) -> None:
    words, others = (nn.Embedding(5, 2, sparse=True) for _ in range(2))
    source, live = (optim.SparseAdam(each.parameters()) for each in (words, others))
    words(torch.tensor([1, 1, 4])).sum().backward()
    restore_into(live, stored(source), adapters, strict=True)
    assert others.weight.grad.is_sparse
    assert torch.equal(others.weight.grad.to_dense(), words.weight.grad.to_dense())


def test_requires_grad_comes_back_both_ways_with_a_warning_that_names_the_parameters(
    adapters: AdapterSet, stored: Stored
) -> None:
    source, live = make(3), make(3)
    params_of(source)[1].requires_grad_(False)
    params_of(live)[2].requires_grad_(False)
    with pytest.warns(UserWarning, match=r"requires_grad of 2 parameters .*numbers 1, 2 of the optimizer"):
        restore_into(live, stored(source), adapters, strict=True)
    assert [param.requires_grad for param in params_of(live)] == [True, False, True]


def test_nothing_is_said_where_requires_grad_is_as_it_was(adapters: AdapterSet, stored: Stored) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore_into(make(), stored(make()), adapters, strict=True)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (3, "parameters"),
        ({"frozen": [], "used": []}, "parameters"),
        ({"frozen": "all", "used": [], "gradients": {}}, "parameters"),
        ({"frozen": [[0]], "used": [], "gradients": {}}, "parameters"),
        ({"frozen": [], "used": [], "gradients": {0: 1.5}}, "parameters.gradients[0]"),
        ({"frozen": [], "used": [], "gradients": {9: torch.ones(3)}}, "parameters.gradients[9]"),
        ({"frozen": [], "used": [], "gradients": {0: torch.ones(4)}}, "parameters.gradients[0]"),
        ({"frozen": [], "used": [], "gradients": {1: torch.ones(3, dtype=torch.float64)}}, "parameters.gradients[1]"),
    ],
)
def test_what_cannot_be_restored_is_refused_by_its_place(
    wrong: object, place: str, adapters: AdapterSet, stored: Stored
) -> None:
    live = make()
    backward(live)
    assert check(live, {**stored(make()), GRADIENTS: wrong}, adapters).mismatched.keys() == {place}
    restore_into(live, {**stored(make()), GRADIENTS: wrong}, adapters, strict=False)
    assert params_of(live)[0].grad is not None, "what does not fit was not left alone"


def test_an_optimizer_with_a_state_of_its_own_form_is_stored_as_it_is(stored: Stored) -> None:
    class Own(optim.SGD):
        def state_dict(self) -> dict[str, Any]:
            return {"lr": self.param_groups[0]["lr"]}

    assert stored(Own([nn.Parameter(torch.ones(2))], lr=0.5)) == {"lr": 0.5}


def test_a_marked_gradient_can_be_copied_and_saved_by_torch(tmp_path: Any) -> None:
    source = make()
    backward(source)
    source.step()
    (param, _) = params_of(source)
    torch.save(param.grad, tmp_path / "grad.pt")
    assert torch.equal(torch.load(tmp_path / "grad.pt", weights_only=True), param.grad)
    assert torch.equal(copy.deepcopy(param.grad), param.grad)


def test_a_training_resumed_under_inference_mode_trains_on(adapters: AdapterSet, stored: Stored) -> None:
    def training() -> dict[str, Any]:
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        return {"model": model, "optimizer": optim.AdamW(model.parameters()), "average": {"w": torch.zeros(2)}}

    def step(of: dict[str, Any]) -> torch.Tensor:
        of["optimizer"].zero_grad()
        of["model"](torch.ones(1, 3)).sum().backward()
        of["optimizer"].step()
        of["average"]["w"].add_(of["model"].bias.detach())
        return of["model"].weight.detach().clone()

    source, live = training(), training()
    live["average"].clear()
    step(source)
    with torch.inference_mode():
        states = stored(source)
        for name, obj in live.items():
            restore_into(obj, states[name], adapters, strict=True)
    assert torch.equal(step(live), step(source))


def test_a_module_made_under_inference_mode_is_restored(adapters: AdapterSet, stored: Stored) -> None:
    source = nn.Linear(2, 2)
    with torch.inference_mode():
        live = nn.Linear(2, 2)
    restore_into(live, stored(source), adapters, strict=True)
    assert torch.equal(live.weight, source.weight)
