"""Trains with gradients that several steps of the loop add up to, in several ways at once: ``accumulation.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from frame import Noted, go, loss_of, network, seed
from torch import nn, optim

EVERY = 4
Made = tuple[Mapping[str, Any], Callable[[int], Noted]]


def dense() -> Made:
    """The optimizer steps every fourth time; the loss is scaled, and the gradients are cleared after the step."""
    model = network(drop=0.1)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

    def one_step(number: int) -> Noted:
        scaler.scale(loss_of(model) / EVERY).backward()
        if number % EVERY == 0:
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            optimizer.zero_grad()
        return {}

    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}, one_step


def cleared_first() -> Made:
    """The gradients are cleared at the beginning of an accumulation, to zeros; a branch is used now and then only."""
    model = nn.ModuleList([network(), nn.Linear(2, 2)])
    optimizer = optim.AdamW(model.parameters(), lr=0.01)

    def one_step(number: int) -> Noted:
        if number % EVERY == 1:
            optimizer.zero_grad(set_to_none=False)
        loss = loss_of(model[0])
        if number in (2, 3):
            loss = loss + model[1](torch.randn(3, 2)).square().mean()
        loss.backward()
        if number % EVERY == 0:
            optimizer.step()
        # a gradient that a step has used comes back as zeros, and nothing reads it before it is cleared
        used = number % EVERY == 0
        return {
            "norm": nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]) * (not used)
        }

    return {"model": model, "optimizer": optimizer}, one_step


def sparse() -> Made:
    """An embedding with sparse gradients, and two optimizers in a list, one for each kind."""
    model = nn.ModuleDict({"words": nn.EmbeddingBag(20, 4, sparse=True), "rest": network()})
    optimizers = [
        optim.SparseAdam(model["words"].parameters(), lr=0.01),
        optim.Adam(model["rest"].parameters(), lr=0.01),
    ]

    def one_step(number: int) -> Noted:
        bags = torch.randint(0, 20, (8, 3))
        (model["rest"](model["words"](bags)) - torch.randn(8, 2)).square().mean().backward()
        if number % EVERY == 0:
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        return {}

    return {"model": model, "optimizers": optimizers}, one_step


def main() -> None:
    seed()
    made = {each.__name__: each() for each in (dense, cleared_first, sparse)}
    go(
        {name: dict(objects) for name, (objects, _) in made.items()},
        lambda number: {f"noted by {name}": one_step(number) for name, (_, one_step) in made.items()},
    )


if __name__ == "__main__":
    main()
