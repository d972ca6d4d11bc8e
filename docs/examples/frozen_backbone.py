"""What storing every tensor once is worth: a network trained whole, and its head alone on a frozen backbone.

    python docs/examples/frozen_backbone.py          20 epochs of each; prints what the checkpoints take on disk

Where every weight changes at every step, as in training from scratch, there is next to nothing to store once, and the
ratio is about 1. Where most weights stay, each checkpoint costs what changed.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

import model_checkpoint.engine as mc


def network() -> nn.Sequential:
    """Return a backbone of 1.4 million weights and a head of 5,130, for (batch, 64) -> (batch, 10)."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(64, 2048), nn.ReLU(), nn.Linear(2048, 512), nn.ReLU(), nn.Linear(512, 512))
    return nn.Sequential(backbone, nn.ReLU(), nn.Linear(512, 10))


def train(name: str, epochs: int, *, frozen: bool) -> None:
    """Train on random numbers, which is all that storage needs, and save every epoch."""
    model = network()
    model[0].requires_grad_(not frozen)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    with mc.start(name, database_url=f"sqlite:///{name}.db", checkpoint_dir=f"{name}-checkpoints") as run:
        for epoch in range(epochs):
            for _ in range(5):
                images, labels = torch.randn(32, 64), torch.randint(10, (32,))
                loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            run.save(epoch=epoch, loss=loss, model=model, optimizer=optimizer)
        for info in run.kernel.store_info():
            print(
                f"{name:7} {info.checkpoints} checkpoints of {info.nbytes / 1e6:6.1f} MB together take"
                f" {info.nbytes_on_disk / 1e6:6.1f} MB: {info.dedup_ratio:.2f} x"
            )


def main() -> None:
    """Compare the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    train("whole", epochs, frozen=False)
    train("frozen", epochs, frozen=True)


if __name__ == "__main__":
    main()
