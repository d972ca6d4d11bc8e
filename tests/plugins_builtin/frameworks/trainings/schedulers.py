"""Trains under every scheduler of torch that has a state, side by side: ``schedulers.py``."""

from __future__ import annotations

import math

from frame import Noted, go, loss_of, network, seed
from torch import optim
from torch.optim import lr_scheduler as lr


class Warmup:
    """A rule with a state of its own, which ``LambdaLR`` keeps."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, epoch: int) -> float:
        self.asked += 1
        return 1 / math.sqrt(1 + self.asked)


SCHEDULERS = {
    "LambdaLR": lambda o: lr.LambdaLR(o, Warmup()),
    "LambdaLR function": lambda o: lr.LambdaLR(o, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda o: lr.MultiplicativeLR(o, lambda epoch: 0.95),
    "StepLR": lambda o: lr.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: lr.MultiStepLR(o, [2, 5, 5, 8], 0.5),
    "ConstantLR": lambda o: lr.ConstantLR(o, 0.5, 6),
    "LinearLR": lambda o: lr.LinearLR(o, 0.5, total_iters=9),
    "ExponentialLR": lambda o: lr.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr.PolynomialLR(o, 9, 2.0),
    "CosineAnnealingLR": lambda o: lr.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lr.CosineAnnealingWarmRestarts(o, 3, 2),
    "OneCycleLR": lambda o: lr.OneCycleLR(o, 0.1, total_steps=20),
    "CyclicLR": lambda o: lr.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9),
    "CyclicLR own scale": lambda o: lr.CyclicLR(o, 0.01, 0.1, 3, scale_fn=lambda x: 0.8**x, scale_mode="iterations"),
    "ReduceLROnPlateau": lambda o: lr.ReduceLROnPlateau(o, patience=1, factor=0.5, cooldown=1),
    "SequentialLR": lambda o: lr.SequentialLR(o, [lr.LinearLR(o, 0.1, 1, 3), lr.CosineAnnealingLR(o, 5)], [3]),
    "ChainedScheduler": lambda o: lr.ChainedScheduler([lr.LinearLR(o, 0.1, 1, 6), lr.ExponentialLR(o, 0.9)]),
    "SWALR": lambda o: optim.swa_utils.SWALR(o, 0.05, anneal_epochs=6),
}


def main() -> None:
    seed()
    models = {name: network() for name in SCHEDULERS}
    optimizers = {name: optim.SGD(models[name].parameters(), lr=0.05, momentum=0.9) for name in SCHEDULERS}
    schedulers = {name: make(optimizers[name]) for name, make in SCHEDULERS.items()}

    def one_step(number: int) -> Noted:
        rates = {}
        for name, scheduler in schedulers.items():
            optimizers[name].zero_grad()
            loss = loss_of(models[name])
            loss.backward()
            optimizers[name].step()
            scheduler.step(*([loss.item()] if name == "ReduceLROnPlateau" else []))
            rates[name] = [group["lr"] for group in optimizers[name].param_groups]
        return {"rates": rates}

    go({"models": models, "optimizers": optimizers, "schedulers": schedulers}, one_step)


if __name__ == "__main__":
    main()
