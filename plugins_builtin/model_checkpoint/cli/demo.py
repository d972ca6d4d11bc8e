"""A small training that can be killed at any step and started again: what ``mce demo`` runs.

Three interleaved spirals are told apart by a network of 2,000 weights. Nothing is downloaded. Everything random comes
from torch's own stream, which a checkpoint holds, so that the weights in the end do not depend on where it was stopped.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model_checkpoint.kernel import Kernel

CLASSES, POINTS = 3, 300
BATCH = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training ended."""

    run: str
    resumed_from: str | None
    first_step: int
    steps: int
    saved: int
    best: str | None
    accuracy: float
    weights: str
    """A digest of all weights: equal for equal trainings."""


def spirals(points: int) -> tuple[Tensor, Tensor]:
    """Return `points` of each class, float32 of shape (3 * points, 2), and their classes."""
    radius = torch.linspace(0.05, 1, points).repeat(CLASSES)
    label = torch.arange(CLASSES).repeat_interleave(points)
    noise = 0.15 * torch.randn(len(radius), generator=torch.Generator().manual_seed(7))
    angle = 4 * radius + label * (2 * torch.pi / CLASSES) + noise
    return torch.stack([radius * torch.sin(angle), radius * torch.cos(angle)], dim=1), label


def train(
    kernel: Kernel, *, steps: int, save_every: int, kill_at: int | None = None, tell: Callable[[str], object] = print
) -> Outcome:
    """Train the kernel's run of ``spirals``, or go on with the one that was stopped, until `steps` are done."""
    torch.set_num_threads(1)  # so small a network only waits for others, and sums must not depend on how many there are
    torch.manual_seed(0)
    points, labels = spirals(POINTS)
    model = nn.Sequential(nn.Linear(2, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    run = kernel.start_run("spirals", config={"steps": steps}, adopt=True)
    resumed = kernel.resume({"model": model, "optimizer": optimizer})  # the random stream comes back too
    tell(f"{run.name}: goes on after step {resumed.step}" if resumed else f"{run.name}: a fresh start")
    saved = 0
    for step in range(resumed.step + 1, steps + 1):
        batch = torch.randint(len(labels), (BATCH,))
        loss = nn.functional.cross_entropy(model(points[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step == kill_at:
            tell(f"step {step}: killed as by kill -9; 'mce demo' goes on from the newest checkpoint")
            os.kill(os.getpid(), signal.SIGKILL)
        if step % save_every == 0 or step == steps:
            val_loss, accuracy = _measured(model, points, labels)
            checkpoint_id = kernel.save(
                {"model": model, "optimizer": optimizer},
                step=step,
                loss=loss.item(),
                val_loss=val_loss,
                metrics={"accuracy": accuracy},
            )
            saved += 1
            tell(f"step {step}: loss {val_loss:.4f}, accuracy {accuracy:.1%}, saved as {checkpoint_id}")
    best = kernel.best("val_loss")
    return Outcome(
        run=run.name,
        resumed_from=resumed.checkpoint_id,
        first_step=resumed.step + 1,
        steps=steps,
        saved=saved,
        best=best.id if best else None,
        accuracy=_measured(model, points, labels)[1],
        weights=_digest(model),
    )


@torch.no_grad()
def _measured(model: nn.Module, points: Tensor, labels: Tensor) -> tuple[float, float]:
    logits = model(points)
    return nn.functional.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
