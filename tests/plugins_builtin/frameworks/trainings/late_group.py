"""Trains a head first and adds the rest of the network to the optimizer at step 4: ``late_group.py``."""

from __future__ import annotations

from frame import loss_of, network, seed
from torch import optim

import model_checkpoint.engine as mc
from model_checkpoint.testing.resume_equivalence import watch

LATE = 4


def main() -> None:
    seed()
    seen, run = watch(), mc.start("proof", quiet=True)
    saved = run.checkpoints()
    model = network()
    model[0].requires_grad_(False)
    optimizer = optim.AdamW(model[1:].parameters(), lr=0.01)
    if saved and (saved[-1].step or 0) >= LATE:  # the optimizer that is restored has the group already
        optimizer.add_param_group({"params": model[0].parameters()})
    for number in range(run.resume(model=model, optimizer=optimizer).step + 1, seen.steps + 1):
        if number == LATE:
            model[0].requires_grad_(True)
            optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.001})
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        run.save(step=number)
        seen.step(number, loss=loss, model=model, optimizer=optimizer)


if __name__ == "__main__":
    main()
