"""What the kit for hook plugins is made of: a short training of no framework, and every event fired at once."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

from model_checkpoint.errors import OperationVetoed
from model_checkpoint.hooks import HookEvent
from model_checkpoint.hooks.specs import EVENTS
from model_checkpoint.kernel import Kernel

LEFT_OUT = ("on_system", "before_plugin", "after_plugin", "on_plugin")
"""Events that belong to the kernel itself."""


class Weights:
    """What is being trained: an object with a state, of no framework."""

    def __init__(self) -> None:
        self.values = [0.5, -0.25]
        self.history: dict[str, list[int]] = {"steps": [1, 2]}

    def state_dict(self) -> dict[str, object]:
        """Return the live state, as frameworks do."""
        return {"values": self.values, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state over."""
        self.values, self.history = list(state["values"]), dict(state["history"])


def train(kernel: Kernel, weights: Weights) -> list[str]:
    """Run a short training with everything that happens in one; return the vetoes that it met, in words."""
    vetoes: list[str] = []

    def attempt(operation: Callable[..., object], *arguments: Any, **options: Any) -> None:
        try:
            operation(*arguments, **options)
        except OperationVetoed as veto:
            vetoes.append(str(veto))

    attempt(kernel.start_run, "kit", config={"lr": 0.1}, tags={"stage": "test"})
    if kernel.active_run is None:
        return vetoes
    for epoch in range(2):
        attempt(kernel.log_metrics, {"train_loss": 0.5}, step=epoch)
        objects = {"weights": weights, "extra": {"n": epoch}}
        attempt(
            kernel.save,
            objects,
            epoch=epoch,
            step=epoch,
            loss=0.5,
            val_loss=0.4,
            metrics={"accuracy": 0.9},
            tags=["kit"],
        )
    for record in kernel.records.list_checkpoints():
        attempt(kernel.load, record.id, into={"weights": weights})
        attempt(kernel.verify, record.id)
    for record in kernel.records.list_checkpoints(limit=1):
        attempt(kernel.delete, record.id)
    kernel.end_run()
    return vetoes


def fire_all(kernel: Kernel, fields: Mapping[str, object]) -> None:
    """Fire every event of a training, with those of `fields` that it has and None for all others."""
    for event in HookEvent:
        if not event.startswith(LEFT_OUT):
            names = {field.name for field in EVENTS[event].fields}
            with contextlib.suppress(OperationVetoed):
                kernel.hooks.fire(event, **{name: value for name, value in fields.items() if name in names})


def random_state() -> list[object]:
    """Return the states of the global random streams of Python and of the frameworks that are loaded."""
    states: list[object] = [random.getstate()]
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        states.append(repr(numpy.random.get_state()))
    if torch is not None:
        states.append(torch.get_rng_state().tolist())
    return states
