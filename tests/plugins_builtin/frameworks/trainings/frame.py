"""What the trainings of this folder have in common: resume, a step, a save, the report to the proof."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

import model_checkpoint.engine as mc
from model_checkpoint.testing.resume_equivalence import watch

Noted = Mapping[str, object]


def seed() -> None:
    """Seed every global stream, and keep tensors this small on one thread."""
    torch.set_num_threads(1)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)


def go(objects: Mapping[str, Any], one_step: Callable[[int], Noted], *, save_every: int = 1) -> None:
    """Train by `one_step`, which gets the step's number and returns what else is to be compared."""
    seen = watch()
    run = mc.start("proof", quiet=True)
    start = run.resume(**objects)
    for number in range(start.step + 1, seen.steps + 1):
        noted = one_step(number)
        if number % save_every == 0:
            run.save(step=number)
        seen.step(number, **noted, **objects)


def go_through(
    loader: Any, objects: Mapping[str, Any], one_batch: Callable[[Any], Noted], *, save_every: int = 1, but: str = ""
) -> None:
    """Train by `one_batch` on what `loader`, one of `objects`, hands out, epoch after epoch; compare all `but` one."""
    seen, compared = watch(), {name: obj for name, obj in objects.items() if name != but}
    run = mc.start("proof", quiet=True)
    start = run.resume(**objects)
    step, epoch = start.step, start.next_epoch
    while step < seen.steps:
        for batch in loader:
            noted = one_batch(batch)
            step += 1
            if step % save_every == 0:
                run.save(step=step, epoch=epoch)
            seen.step(step, batch=batch, epoch=epoch, **noted, **compared)
            if step == seen.steps:
                return
        epoch += 1


def network(*, drop: float = 0.0) -> nn.Module:
    """Return a small network for (batch, 4) -> (batch, 2)."""
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(drop), nn.Linear(6, 2))


def loss_of(model: nn.Module) -> torch.Tensor:
    """Return the loss on a batch that is drawn from the global stream."""
    inputs, targets = torch.randn(8, 4), torch.randn(8, 2)
    return nn.functional.mse_loss(model(inputs), targets)
