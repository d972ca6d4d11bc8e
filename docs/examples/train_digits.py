"""Train a small network on real handwritten digits; stop it at any moment, start it again, and it goes on bit for bit.

    python docs/examples/train_digits.py            train, or go on where the last start was stopped
    python docs/examples/train_digits.py --epochs 3

The data are the 1,797 scans that scikit-learn carries: nothing is downloaded. Press Ctrl-C, or kill -9 it, and start it
again: it resumes in the middle of the epoch, with the same weights in the end as if nothing had happened.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import model_checkpoint.engine as mc
from model_checkpoint.frameworks.torch_data import ResumableLoader

console = Console()


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return 1,437 training and 360 validation images, float32 of shape (1, 8, 8) in [0, 1], with their labels."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, validation = order[:1437], order[1437:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[validation], labels[validation])


def network(width: int) -> nn.Module:
    """Return a convolutional network for (batch, 1, 8, 8) -> (batch, 10) logits."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * width, 10),
    )  # fmt: skip


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Shift the batch by up to a pixel and add a little noise, so that every random stream has its part."""
    images = torch.roll(images, shifts=(random.randint(-1, 1), random.randint(-1, 1)), dims=(2, 3))
    return images + torch.from_numpy(np.random.normal(0, 0.05, images.shape).astype(np.float32))


@torch.no_grad()
def evaluate(model: nn.Module, data: TensorDataset) -> tuple[float, float]:
    """Return mean loss and accuracy over `data`."""
    model.eval()
    images, labels = data.tensors
    logits = model(images)
    model.train()
    return nn.functional.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def fingerprint(model: nn.Module) -> str:
    """Return a short digest of every weight."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def show(run: mc.Run) -> None:
    """Print the checkpoints that ended an epoch."""
    table = Table(title=f"{run.name}: what each epoch left behind")
    for heading in ("epoch", "loss", "val_loss", "accuracy", "best for", "size", "seconds"):
        table.add_column(heading, justify="left" if heading == "best for" else "right")
    for record in run.checkpoints():
        if record.val_loss is None:  # taken in the middle of an epoch
            continue
        marks = ", ".join(name for name in record.best_for if name in ("val_loss", "loss", "accuracy"))
        table.add_row(
            str(record.epoch), f"{record.loss:.4f}", f"{record.val_loss:.4f}", f"{record.metrics['accuracy']:.1%}",
            marks, f"{record.nbytes_written / 1e6:.2f} MB", f"{record.duration_s:.3f}",
        )  # fmt: skip
    console.print(table)


def main(arguments: list[str] | None = None, **options: object) -> str:
    """Train and return the fingerprint of the final weights. `options` go to ``mc.start``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--width", type=int, default=80, help="channels of the first layers")
    parser.add_argument("--save-every", type=int, default=25, metavar="STEPS", help="0: only at the end of an epoch")
    parser.add_argument("--no-checkpoints", action="store_true", help="train without saving, to compare the time")
    args = parser.parse_args(arguments)

    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    train, validation = digits()
    loader = ResumableLoader(train, batch_size=32, shuffle=True, seed=0, drop_last=True)
    model = network(args.width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    steps = args.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
    progress = {"step": 0, "loss_sum": 0.0}
    started = time.perf_counter()

    run, first_epoch = None, 0
    if not args.no_checkpoints:
        run = mc.start("digits", config=vars(args), **options)
        start = run.resume(model=model, optimizer=optimizer, scheduler=scheduler, loader=loader, progress=progress)
        first_epoch = start.next_epoch
        console.print(f"[bold]{start}[/bold]", soft_wrap=True, highlight=False)

    columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("loss {task.fields[loss]:.3f}"))  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=steps, completed=progress["step"], epoch=first_epoch, loss=0.0)
        for epoch in range(first_epoch, args.epochs):
            for images, labels in loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(augmented(images)), labels)
                loss.backward()
                optimizer.step()
                scheduler.step()
                progress["step"] += 1
                progress["loss_sum"] += loss.item()
                bar.update(task, completed=progress["step"], epoch=epoch, loss=loss.item())
                if run:
                    run.log(train_loss=loss, step=progress["step"])
                    if args.save_every and progress["step"] % args.save_every == 0:
                        run.save(epoch=epoch, step=progress["step"])
            val_loss, accuracy = evaluate(model, validation)
            mean_loss, progress["loss_sum"] = progress["loss_sum"] / len(loader), 0.0
            if run:
                run.save(epoch=epoch, step=progress["step"], loss=mean_loss, val_loss=val_loss,
                         metrics={"accuracy": accuracy})  # fmt: skip

    if run:
        show(run)
        best = run.best("val_loss")
        console.print(f"best by val_loss: {best.id}", highlight=False)
    console.print(f"weights {fingerprint(model)}, {time.perf_counter() - started:.1f} s", highlight=False)
    return fingerprint(model)


if __name__ == "__main__":
    main()
