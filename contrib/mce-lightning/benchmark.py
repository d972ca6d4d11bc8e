"""Measures a fit that saves after every step: with this package, with ModelCheckpoint, and with no checkpoints.

    python contrib/mce-lightning/benchmark.py [--width 1024] [--steps 10] [--repeats 3]

Taken in turn, the median of the repeats. Bytes are what lies on the disk in the end, every checkpoint kept. Lightning's
own files are not synced to the disk and not verified; ours are. On a busy machine only the ratios mean something.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

sys.path.insert(0, str(Path(__file__).parent))
from mce_lightning import MceCheckpoint


class Net(LightningModule):
    """Three square layers; frozen, only the last one learns."""

    def __init__(self, width: int, frozen: bool) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(3)))
        for layer in self.layers[:2] if frozen else []:
            layer.requires_grad_(False)

    def training_step(self, batch: Any, index: int) -> Any:
        """Return the loss."""
        return self.layers(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        """Return Adam over what learns."""
        return torch.optim.Adam([each for each in self.parameters() if each.requires_grad])


def fit(folder: Path, kind: str, width: int, steps: int, frozen: bool) -> tuple[float, int]:
    """Return the seconds of one fit, and the bytes that it left."""
    given: dict[str, Any] = {"every_n_train_steps": 1, "save_top_k": -1}
    callbacks: list[Any] = []
    if kind == "ModelCheckpoint":
        callbacks = [ModelCheckpoint(folder / "ckpts", **given)]
    elif kind.startswith("mce"):
        database = f"sqlite:///{folder}/x.db"
        callbacks = [MceCheckpoint(folder / "ckpts", database_url=database, wait="wait" in kind, **given)]
    torch.manual_seed(0)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(steps * 64, width)), batch_size=64)
    trainer = Trainer(
        default_root_dir=folder, accelerator="cpu", devices=1, max_epochs=1, callbacks=callbacks, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=bool(callbacks),
    )  # fmt: skip
    started = time.perf_counter()
    trainer.fit(Net(width, frozen), data)
    seconds = time.perf_counter() - started
    if kind.startswith("mce"):
        callbacks[0].io.close()
    return seconds, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    kinds = ("no checkpoints", "ModelCheckpoint", "mce-lightning", "mce-lightning, wait=True")
    print("| training | saved by | seconds | ratio | MB | ratio |\n|---|---|---:|---:|---:|---:|")
    for frozen in (False, True):
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        nbytes: dict[str, int] = {}
        for _ in range(options.repeats):
            for kind in kinds:
                with tempfile.TemporaryDirectory() as folder:
                    took, nbytes[kind] = fit(Path(folder), kind, options.width, options.steps, frozen)
                    seconds[kind].append(took)
        peer_s, peer_nbytes = statistics.median(seconds[kinds[1]]), nbytes[kinds[1]]
        for kind in kinds:
            took, name = statistics.median(seconds[kind]), "two of three layers frozen" if frozen else "all layers"
            ratio = f"{nbytes[kind] / peer_nbytes:.2f}"
            print(
                f"| {name} | {kind} | {took:.2f} | {took / peer_s:.2f} | {nbytes[kind] / 1e6:.0f} | {ratio} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
