"""A tiny training with an ``Accelerator``; as a script it may kill itself in the middle.

python accelerate_training.py FOLDER KILL_AT_STEP HOW        HOW: state (save_state) or run (objects of a run)
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed
from mce_accelerate import prepared, with_mce
from torch.utils.data import DataLoader, TensorDataset

import model_checkpoint.engine as mc


class Counter:
    """Something of one's own, for ``register_for_checkpointing``."""

    def __init__(self) -> None:
        self.epochs = 0

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]


def dataset() -> TensorDataset:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(24, 4, generator=generator)
    return TensorDataset(x, x.sum(1, keepdim=True))


def parts(accelerator: Any, width: int = 8) -> tuple[Any, ...]:
    """Return model, optimizer, scheduler and loader, prepared, and a registered counter."""
    model = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Dropout(0.3), torch.nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.5)
    loader = DataLoader(dataset(), batch_size=4, shuffle=True)
    counter = Counter()
    accelerator.register_for_checkpointing(counter)
    return (*accelerator.prepare(model, optimizer, scheduler, loader), counter)


def one_step(accelerator: Any, model: Any, optimizer: Any, scheduler: Any, batch: Any) -> float:
    loss = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
    accelerator.backward(loss)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    return float(loss)


def main(folder: str, kill_at: str, how: str) -> None:
    set_seed(3)
    root = Path(folder)
    settings = ProjectConfiguration(str(root), automatic_checkpoint_naming=True, total_limit=2)
    accelerator: Any = Accelerator(cpu=True, project_config=settings)
    run, step, losses = None, 0, []
    if how == "state":
        accelerator = with_mce(accelerator, database_url=f"sqlite:///{root}/x.db", experiment="fit")
    model, optimizer, scheduler, loader, counter = parts(accelerator)
    if how == "run":
        run = mc.start("fit", database_url=f"sqlite:///{root}/x.db", quiet=True)
        run.resume(**prepared(accelerator))
    elif (root / "checkpoints").is_dir() and list((root / "checkpoints").glob("checkpoint_*")):
        accelerator.load_state()
    step = counter.epochs * 6
    for _ in range(counter.epochs, 4):
        for batch in loader:
            if step == int(kill_at) and step:
                (run.kernel.wait(run.kernel.checkpoint("latest").id) if run else accelerator.settle())
                os.kill(os.getpid(), signal.SIGKILL)
            losses.append(one_step(accelerator, model, optimizer, scheduler, batch))
            step += 1
        counter.epochs += 1
        if run is not None:
            run.save(step=step, epoch=counter.epochs - 1, metrics={"loss": losses[-1]}, wait=False)
        else:
            accelerator.save_state(step=step, epoch=counter.epochs - 1, metrics={"loss": losses[-1]})
    run.finish() if run is not None else accelerator.end_training()
    torch.save({"weights": model.state_dict(), "losses": losses[-6:], "step": step}, root / "end.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
