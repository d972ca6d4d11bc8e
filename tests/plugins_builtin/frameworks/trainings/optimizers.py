"""Trains with every kind of optimizer of torch side by side, fused, foreach and neither: ``optimizers.py``."""

from __future__ import annotations

from frame import Noted, go, loss_of, network, seed
from torch import nn, optim

KINDS = {
    "SGD": (optim.SGD, {"lr": 0.05}),
    "SGD momentum": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    "SGD nesterov": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "Adam": (optim.Adam, {"lr": 0.01}),
    "Adam amsgrad": (optim.Adam, {"lr": 0.01, "amsgrad": True}),
    "AdamW": (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}
WAYS = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
OTHERS = {
    "NAdam": (optim.NAdam, {}),
    "RAdam": (optim.RAdam, {}),
    "RMSprop": (optim.RMSprop, {"momentum": 0.5, "centered": True}),
    "Adagrad": (optim.Adagrad, {"lr_decay": 0.1}),
    "Adadelta": (optim.Adadelta, {}),
    "Adamax": (optim.Adamax, {}),
    "ASGD": (optim.ASGD, {"t0": 3}),
    "Rprop": (optim.Rprop, {}),
    "LBFGS": (optim.LBFGS, {"lr": 0.5, "max_iter": 4, "history_size": 3, "line_search_fn": "strong_wolfe"}),
}


def main() -> None:
    seed()
    made = {f"{kind} {way}": (make, {**o, **w}) for kind, (make, o) in KINDS.items() for way, w in WAYS.items()}
    models: dict[str, nn.Module] = {name: network() for name in {**made, **OTHERS}}
    optimizers = {name: make(models[name].parameters(), **o) for name, (make, o) in {**made, **OTHERS}.items()}

    def one_step(number: int) -> Noted:
        losses = {}
        for name, optimizer in optimizers.items():

            def closure(name: str = name, optimizer: optim.Optimizer = optimizer) -> float:
                optimizer.zero_grad()
                loss = loss_of(models[name])
                loss.backward()
                return loss.item()

            losses[name] = optimizer.step(closure)
        return {"losses": losses}

    go({"models": models, "optimizers": optimizers}, one_step, save_every=2)


if __name__ == "__main__":
    main()
