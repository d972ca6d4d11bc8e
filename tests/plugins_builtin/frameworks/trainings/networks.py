"""Trains what is more than weights and an optimizer, several at once: ``networks.py`` or ``networks.py compiled``."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from frame import Noted, go, loss_of, network, seed
from torch import nn, optim

Made = tuple[Mapping[str, Any], Callable[[int], Noted]]


def streams() -> Made:
    """Dropout, batch norm, an average of the weights, numpy and Python in the loop, generators of the script's own."""
    model = network(drop=0.3)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    ema = optim.swa_utils.AveragedModel(model, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True)
    noise, choice, pick = torch.Generator().manual_seed(3), np.random.default_rng(4), np.random.RandomState(5)
    progress = {"step": 0, "seen": []}

    def one_step(number: int) -> Noted:
        optimizer.zero_grad()
        loss = loss_of(model) * random.uniform(0.5, 1.5) * float(np.random.uniform(0.5, 1.5))
        loss = loss * (1 + 0.1 * torch.randn((), generator=noise)) * choice.uniform(0.5, 1.5) * pick.uniform(0.5, 1.5)
        loss.backward()
        optimizer.step()
        ema.update_parameters(model)
        progress["step"] += 1
        progress["seen"].append(loss.item())
        return {"loss": loss}

    own = {"noise": noise, "choice": choice, "pick": pick}
    return {"model": model, "optimizer": optimizer, "ema": ema, "progress": progress, **own}, one_step


class Tied(nn.Module):
    """A language model whose head is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 6)
        self.cell = nn.GRU(6, 6, batch_first=True)
        self.head = nn.Linear(6, 12, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(self.embedding(tokens))[0])


def tied() -> Made:
    """Tied weights stay tied, and train on as one."""
    model = Tied()
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def one_step(number: int) -> Noted:
        tokens = torch.randint(0, 12, (4, 7))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        return {"loss": loss, "one": model.head.weight is model.embedding.weight}

    return {"model": model, "optimizer": optimizer}, one_step


def mixed() -> Made:
    """autocast in bfloat16 with a GradScaler that grows, meets an overflow and backs off; clipping in between."""
    model = network(drop=0.1)
    optimizer = optim.AdamW(model.parameters(), lr=0.01, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

    def one_step(number: int) -> Noted:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model)
        scaler.scale(loss * (float("inf") if number == 6 else 1.0)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return {"scale": scaler.get_scale(), "loss": loss}

    return {"model": model, "optimizer": optimizer, "scaler": scaler}, one_step


def unfreezing() -> Made:
    """Layers that are frozen at first, thaw at step 3, and others that freeze at step 6."""
    model = network()
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    model[0].requires_grad_(False)

    def one_step(number: int) -> Noted:
        if number == 3:
            model[0].requires_grad_(True)
        if number == 6:
            model[3].requires_grad_(False)
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    return {"model": model, "optimizer": optimizer}, one_step


def compiled() -> Made:
    """A module under ``torch.compile``, and a compiled step of the optimizer."""
    model = network(drop=0.2)
    fast = torch.compile(model)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    step = torch.compile(optimizer.step)

    def one_step(number: int) -> Noted:
        optimizer.zero_grad()
        loss = loss_of(fast)
        loss.backward()
        step()
        return {"loss": loss}

    return {"model": fast, "optimizer": optimizer}, one_step


def main() -> None:
    seed()
    chosen = [compiled] if sys.argv[1:] == ["compiled"] else [streams, tied, mixed, unfreezing]
    made = {each.__name__: each() for each in chosen}
    go(
        {name: dict(objects) for name, (objects, _) in made.items()},
        lambda number: {f"noted by {name}": one_step(number) for name, (_, one_step) in made.items()},
    )


if __name__ == "__main__":
    main()
