"""Every optimizer of torch under every scheduler goes on, after a restore, as if it had never stopped: bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler as lr

from model_checkpoint.checkpoint.capture import OBJECTS, RNG, capture, check, restore_into
from model_checkpoint.checkpoint.rng import restore_rng
from model_checkpoint.checkpoint.tree import FlatTree
from model_checkpoint.kernel.adapters import AdapterSet

Reread = Callable[[FlatTree], Any]
Stored = Callable[[object], Any]
STEPS_BEFORE, STEPS_AFTER = 4, 5

OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], optim.Optimizer]] = {
    "SGD momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "SGD fused": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "Adam amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "Adam tensor lr": lambda p: optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "AdamW fused": lambda p: optim.AdamW(p, lr=0.01, fused=True),
    "AdamW foreach": lambda p: optim.AdamW(p, lr=0.01, foreach=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.1),
    "Adadelta": lambda p: optim.Adadelta(p),
    "Adamax": lambda p: optim.Adamax(p),
    "NAdam": lambda p: optim.NAdam(p),
    "RAdam": lambda p: optim.RAdam(p, decoupled_weight_decay=True),
    "RMSprop": lambda p: optim.RMSprop(p, momentum=0.5, centered=True),
    "Rprop": lambda p: optim.Rprop(p),
    "ASGD": lambda p: optim.ASGD(p),
    "LBFGS": lambda p: optim.LBFGS(p, lr=0.5, max_iter=3, history_size=4, line_search_fn="strong_wolfe"),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.1),
    "Muon": lambda p: optim.Muon([each for each in p if each.ndim == 2], lr=0.1),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tensors this small are only slowed down by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _momentum(o: optim.Optimizer) -> bool:
    return "momentum" in o.defaults or "betas" in o.defaults


SCHEDULERS: dict[str, Callable[[optim.Optimizer], Any]] = {
    "none": lambda o: None,
    "StepLR": lambda o: lr.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: lr.MultiStepLR(o, [2, 2, 5], 0.5),
    "LambdaLR": lambda o: lr.LambdaLR(o, lambda epoch: 0.95**epoch),
    "MultiplicativeLR": lambda o: lr.MultiplicativeLR(o, lambda epoch: 0.95),
    "ConstantLR": lambda o: lr.ConstantLR(o, 0.5, 3),
    "LinearLR": lambda o: lr.LinearLR(o, 0.5, total_iters=6),
    "ExponentialLR": lambda o: lr.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr.PolynomialLR(o, 8),
    "CosineAnnealingLR": lambda o: lr.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lr.CosineAnnealingWarmRestarts(o, 3, 2),
    "OneCycleLR": lambda o: lr.OneCycleLR(o, 0.1, total_steps=12, cycle_momentum=_momentum(o)),
    "CyclicLR": lambda o: lr.CyclicLR(o, 0.01, 0.1, 3, cycle_momentum=_momentum(o)),
    "ReduceLROnPlateau": lambda o: lr.ReduceLROnPlateau(o, patience=0, factor=0.5),
    "SequentialLR": lambda o: lr.SequentialLR(o, [lr.LinearLR(o, 0.1, 1, 3), lr.ExponentialLR(o, 0.9)], [3]),
    "ChainedScheduler": lambda o: lr.ChainedScheduler([lr.LinearLR(o, 0.1, 1, 6), lr.ExponentialLR(o, 0.9)]),
    "SWALR": lambda o: optim.swa_utils.SWALR(o, 0.05, anneal_epochs=6),
}  # fmt: skip


class Training:
    """A small network with dropout, and an average of it."""

    def __init__(self, optimizer: str, scheduler: str, *, seed: int, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 2)).to(dtype)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.scheduler = SCHEDULERS[scheduler](self.optimizer)
        self.averaged = optim.swa_utils.AveragedModel(self.model)

    @property
    def objects(self) -> dict[str, Any]:
        found = {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "averaged": self.averaged,
        }
        return {name: obj for name, obj in found.items() if obj is not None}

    def run(self, steps: int) -> None:
        dtype = self.model[0].weight.dtype
        for _ in range(steps):
            inputs, targets = torch.randn(8, 4).to(dtype), torch.randn(8, 2).to(dtype)

            def closure(inputs: torch.Tensor = inputs, targets: torch.Tensor = targets) -> torch.Tensor:
                self.optimizer.zero_grad()
                loss = nn.functional.mse_loss(self.model(inputs), targets)
                loss.backward()
                return loss

            loss = self.optimizer.step(closure)
            self.averaged.update_parameters(self.model)
            if isinstance(self.scheduler, lr.ReduceLROnPlateau):
                self.scheduler.step(float(loss))
            elif self.scheduler is not None:
                self.scheduler.step()


def bits(value: Any) -> Any:
    """Turn tensors into their bytes, so that == compares bits, and types too."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().contiguous().view(-1).view(torch.uint8)
        return (str(value.dtype), tuple(value.shape), value.device.type, flat.numpy().tobytes())
    if isinstance(value, dict):
        return (type(value).__name__, [(key, bits(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return (type(value).__name__, [bits(item) for item in value])
    return (type(value).__name__, repr(value))


def state_of(training: Training) -> Any:
    return bits({name: obj.state_dict() for name, obj in training.objects.items()})


def resumed(training: Training, twin: Training, adapters: AdapterSet, reread: Reread) -> None:
    """Put what a checkpoint of `training` holds into `twin`, and the random streams where they were."""
    whole = reread(capture(training.objects, adapters))
    torch.rand(7)
    for name, obj in twin.objects.items():
        found = check(obj, whole[OBJECTS][name], adapters)
        assert not found, (name, found)
    for name, obj in twin.objects.items():
        restore_into(obj, whole[OBJECTS][name], adapters, strict=True)
    restore_rng(adapters, whole[RNG])


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_restored_training_goes_on_bit_for_bit(
    optimizer: str, scheduler: str, adapters: AdapterSet, reread: Reread
) -> None:
    training = Training(optimizer, scheduler, seed=1)
    training.run(STEPS_BEFORE)
    before, rng = state_of(training), torch.get_rng_state()
    twin = Training(optimizer, scheduler, seed=2)
    torch.set_rng_state(rng)
    resumed(training, twin, adapters, reread)
    assert state_of(training) == before, "capturing changed something"
    assert state_of(twin) == before
    twin.run(STEPS_AFTER)
    torch.set_rng_state(rng)
    training.run(STEPS_AFTER)
    assert state_of(twin) == state_of(training)
    assert state_of(twin) != before


@pytest.mark.parametrize("optimizer", ["SGD momentum", "AdamW", "AdamW fused", "Adafactor", "RMSprop", "Adagrad"])
def test_low_precision_parameters_keep_their_optimizer_state_as_it_was(
    optimizer: str, adapters: AdapterSet, reread: Reread
) -> None:
    training = Training(optimizer, "none", seed=1, dtype=torch.bfloat16)
    training.run(STEPS_BEFORE)
    twin = Training(optimizer, "none", seed=2, dtype=torch.bfloat16)
    resumed(training, twin, adapters, reread)
    assert state_of(twin) == state_of(training)


def test_float32_state_of_bfloat16_parameters_is_not_cast(adapters: AdapterSet, stored: Stored) -> None:
    def make() -> optim.Optimizer:
        return optim.AdamW([nn.Parameter(torch.ones(3, dtype=torch.bfloat16))], lr=0.1)

    source, live = make(), make()
    (param,) = source.param_groups[0]["params"]
    fine = torch.tensor([1 / 3, 1e-30, 3.3])
    source.state[param] = {
        "step": torch.tensor(2**24 + 1, dtype=torch.int64),
        "exp_avg": fine,
        "note": "abc",
        "more": [fine],
    }
    restore_into(live, stored(source), adapters, strict=True)
    assert bits(live.state_dict()) == bits(source.state_dict())
    plain = make()
    plain.load_state_dict(source.state_dict())
    assert bits(plain.state_dict()) != bits(source.state_dict()), "torch alone no longer casts: simplify the adapter"


def test_two_optimizers_restored_from_one_state_do_not_share_memory(adapters: AdapterSet, stored: Stored) -> None:
    training = Training("AdamW", "MultiStepLR", seed=1)
    training.run(1)
    state = stored(training.objects)
    expected = bits(state)
    for _ in range(2):
        twin = Training("AdamW", "MultiStepLR", seed=2)
        for name, obj in twin.objects.items():
            restore_into(obj, state[name], adapters, strict=True)
        twin.run(2)
        twin.scheduler.milestones.clear()
        assert bits(state) == expected, "training on changed what was loaded"


def mismatch(adapters: AdapterSet, stored: Stored, source: object, live: object) -> dict[str, str]:
    before = bits(live.state_dict())  # type: ignore[attr-defined]
    found = check(live, stored(source), adapters)
    assert found
    restore_into(live, stored(source), adapters, strict=False)
    assert bits(live.state_dict()) == before, "what does not fit was not left alone"  # type: ignore[attr-defined]
    return {
        **found.mismatched,
        **dict.fromkeys(found.missing, "missing"),
        **dict.fromkeys(found.unexpected, "unexpected"),
    }


def params(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    for each in made:
        each.grad = torch.ones_like(each)
    return made


def test_an_optimizer_of_other_groups_is_refused_with_the_difference(adapters: AdapterSet, stored: Stored) -> None:
    two = optim.SGD([{"params": params((2,))}, {"params": params((3,)), "lr": 0.5}], lr=0.1)
    one = optim.SGD(params((2,)), lr=0.1)
    assert mismatch(adapters, stored, two, one) == {"param_groups": "2 groups stored, 1 live"}
    assert mismatch(adapters, stored, one, optim.SGD(params((2,), (3,)), lr=0.1)) == {
        "param_groups[0].params": "1 parameters stored, 2 live"
    }


def test_an_optimizer_of_another_class_is_refused_with_the_settings_that_differ(
    adapters: AdapterSet, stored: Stored
) -> None:
    found = mismatch(adapters, stored, optim.SGD(params((2,)), lr=0.1), optim.AdamW(params((2,)), lr=0.1))
    assert found["param_groups[0].betas"] == "missing"
    assert found["param_groups[0].nesterov"] == "unexpected"


def test_settings_that_schedulers_and_versions_of_torch_add_are_no_mismatch(
    adapters: AdapterSet, stored: Stored
) -> None:
    scheduled = optim.AdamW(params((2,)), lr=0.1)
    lr.OneCycleLR(scheduled, 0.1, total_steps=5)
    fresh = optim.AdamW(params((2,)), lr=0.1)
    fresh.param_groups[0]["added_by_a_newer_torch"] = 1
    assert not check(fresh, stored(scheduled), adapters)


def test_state_of_another_shape_is_refused_before_the_first_step_fails(adapters: AdapterSet, stored: Stored) -> None:
    source = optim.Adam(params((2, 3)), lr=0.1)
    source.step()
    found = mismatch(adapters, stored, source, optim.Adam(params((3, 2)), lr=0.1))
    assert found == {f"state[0].{name}": "shape (2, 3) stored, (3, 2) live" for name in ("exp_avg", "exp_avg_sq")}


@pytest.mark.parametrize(
    "state", [3, {}, {"state": {}}, {"state": [], "param_groups": []}, {"state": {}, "param_groups": 3}]
)
def test_what_is_no_optimizer_state_is_refused(state: object, adapters: AdapterSet) -> None:
    live = optim.SGD(params((2,)), lr=0.1)
    assert check(live, state, adapters).mismatched
    restore_into(live, state, adapters, strict=False)


def test_a_scheduler_of_another_class_or_size_is_refused(adapters: AdapterSet, stored: Stored) -> None:
    one, two = optim.SGD(params((2,)), lr=0.1), optim.SGD([{"params": params((2,))}, {"params": params((3,))}], lr=0.1)
    found = mismatch(adapters, stored, lr.StepLR(one, 3), lr.CosineAnnealingLR(one, 3))
    assert (found["T_max"], found["step_size"]) == ("missing", "unexpected")
    assert mismatch(adapters, stored, lr.StepLR(one, 3), lr.StepLR(two, 3)) == {"base_lrs": "1 entries stored, 2 live"}
    assert check(lr.StepLR(one, 3), 5, adapters).mismatched[""].startswith("int stored")
