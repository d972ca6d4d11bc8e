"""A tiny training with dropout and shuffled data; as a script it trains one fit and may kill itself in the middle.

python lightning_training.py FOLDER EPOCHS KILL_AT_STEP CKPT_PATH EVERY_N_STEPS LOADER
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from mce_lightning import LightningLoader, MceCheckpoint
from torch.utils.data import DataLoader, TensorDataset


class Net(LightningModule):
    def __init__(self, width: int = 8, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, width), torch.nn.Dropout(0.3), torch.nn.ReLU(), torch.nn.Linear(width, 1)
        )

    def training_step(self, batch: Any, index: int) -> Any:
        loss = torch.nn.functional.mse_loss(self.layers(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", torch.nn.functional.mse_loss(self.layers(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)}


def dataset() -> TensorDataset:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(24, 4, generator=generator)
    return TensorDataset(x, x.sum(1, keepdim=True))


def loaders(kind: str = "plain") -> tuple[Any, Any]:
    if kind == "resumable":
        return LightningLoader(dataset(), batch_size=4, shuffle=True, seed=3), DataLoader(dataset(), batch_size=8)
    return DataLoader(dataset(), batch_size=4, shuffle=True), DataLoader(dataset(), batch_size=8)


def trainer(folder: Path, callback: Any, *more: Any, epochs: int = 3, **given: Any) -> Trainer:
    warnings.filterwarnings("ignore", message=".*num_workers.*|.*not resumable.*|.*exists and is not empty.*")
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        callbacks=[callback, *more],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **given,
    )


def checkpoint(folder: Path, **given: Any) -> MceCheckpoint:
    return MceCheckpoint(
        folder / "ckpts", database_url=f"sqlite:///{folder}/x.db", experiment="fit", **{"save_last": True, **given}
    )


class Killed(Callback):
    """Kills the process, as nothing can be caught, once so many steps were taken."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.at:
            callback = trainer.checkpoint_callback
            assert isinstance(callback, MceCheckpoint)
            callback.io.teardown()  # what was saved before is durable: the test knows where the training goes on
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, epochs: str, kill_at: str, ckpt_path: str, every: str, kind: str) -> None:
    seed_everything(1, verbose=False)
    more = [Killed(int(kill_at))] if int(kill_at) else []
    callback = checkpoint(Path(folder), every_n_train_steps=int(every) or None)
    fit = trainer(Path(folder), callback, *more, epochs=int(epochs))
    model = Net()
    fit.fit(model, *loaders(kind), ckpt_path=ckpt_path or None)
    torch.save({"weights": model.state_dict(), "step": fit.global_step}, Path(folder) / "end.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
