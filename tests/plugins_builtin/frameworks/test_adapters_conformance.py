"""The built-in framework adapters keep every rule of the contract, as the kit for strangers tests them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from model_checkpoint.contracts import FrameworkAdapter
from model_checkpoint.frameworks import numpy as numpy_plugin
from model_checkpoint.frameworks import state_dict as state_dict_plugin
from model_checkpoint.frameworks import torch as torch_plugin
from model_checkpoint.testing.framework_adapter import FrameworkAdapterTests


class TestTorch(FrameworkAdapterTests):
    @pytest.fixture
    def make_adapter(self) -> Callable[[], FrameworkAdapter]:
        return torch_plugin.create_adapter

    @pytest.fixture
    def makers(self) -> Mapping[str, Callable[[int], object]]:
        def model(seed: int) -> object:
            made = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
            for number, parameter in enumerate(made.parameters()):
                torch.nn.init.constant_(parameter, seed + number)
            return made

        return {"module": model, "scheduler": _scheduler}

    @pytest.fixture
    def leaves(self) -> list[object]:
        whole = torch.arange(12.0).reshape(3, 4)
        return [whole, whole.T, torch.tensor(1.5), torch.zeros(0, 3), whole.bfloat16(), torch.float16]

    def draw(self) -> object:
        return float(torch.rand(()))


def _scheduler(seed: int) -> object:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1 * seed)
    return torch.optim.lr_scheduler.StepLR(optimizer, seed)


class TestNumpy(FrameworkAdapterTests):
    made_anew = frozenset({"bit generator"})

    @pytest.fixture
    def make_adapter(self) -> Callable[[], FrameworkAdapter]:
        return numpy_plugin.create_adapter

    @pytest.fixture
    def makers(self) -> Mapping[str, Callable[[int], object]]:
        return {"generator": np.random.default_rng, "bit generator": np.random.MT19937}

    @pytest.fixture
    def leaves(self) -> list[object]:
        whole = np.arange(12.0).reshape(3, 4)
        return [whole, whole.T, whole[::-1], np.array(5), np.zeros((0, 2), ">f4"), np.float32(0.5), np.dtype(">i4")]

    def draw(self) -> object:
        return float(np.random.randn())


class TestStateDict(FrameworkAdapterTests):
    @pytest.fixture
    def make_adapter(self) -> Callable[[], FrameworkAdapter]:
        return state_dict_plugin.create_adapter

    @pytest.fixture
    def makers(self) -> Mapping[str, Callable[[int], object]]:
        return {"counter": _Counter}

    @pytest.fixture
    def leaves(self) -> list[object]:
        return []


class _Counter:
    def __init__(self, n: int) -> None:
        self.n = n

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.n = state["n"]

    def check_state_dict(self, state: Mapping[str, Any]) -> dict[str, str]:
        return {} if set(state) == {"n"} else dict.fromkeys(state, "is not n")
