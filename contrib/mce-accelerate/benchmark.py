"""Measures a training that saves after every step: with this package, with Accelerate's save_state, and without saves.

    python contrib/mce-accelerate/benchmark.py [--width 1024] [--steps 10] [--repeats 3]

Taken in turn, the median of the repeats. Bytes are what lies on the disk in the end, every checkpoint kept.
Accelerate's own files are not synced to the disk and not verified; ours are. On a busy machine only the ratios mean
something.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

sys.path.insert(0, str(Path(__file__).parent))
from mce_accelerate import with_mce

KINDS = ("no checkpoints", "Accelerate's save_state", "mce-accelerate", "mce-accelerate, wait=True")


def train(folder: Path, kind: str, width: int, steps: int, frozen: bool) -> tuple[float, int]:
    """Return the seconds of one training, and the bytes that it left."""
    torch.manual_seed(0)
    model: Any = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(3)))
    for layer in model[:2] if frozen else []:
        layer.requires_grad_(False)
    optimizer: Any = torch.optim.Adam([each for each in model.parameters() if each.requires_grad])
    accelerator: Any = Accelerator(cpu=True)
    if kind.startswith("mce"):
        accelerator = with_mce(accelerator, database_url=f"sqlite:///{folder}/x.db", wait="wait" in kind)
    model, optimizer = accelerator.prepare(model, optimizer)
    batch = torch.randn(64, width)
    started = time.perf_counter()
    for step in range(steps):
        accelerator.backward(model(batch).square().mean())
        optimizer.step()
        optimizer.zero_grad()
        if kind != KINDS[0]:
            accelerator.save_state(str(folder / f"step_{step}"))
    if kind.startswith("mce"):
        accelerator.settle()
    seconds = time.perf_counter() - started
    if kind.startswith("mce"):
        accelerator.kernel.close()
    return seconds, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| training | saved by | seconds | ratio | MB | ratio |\n|---|---|---:|---:|---:|---:|")
    for frozen in (False, True):
        seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        nbytes: dict[str, int] = {}
        for _ in range(options.repeats):
            for kind in KINDS:
                with tempfile.TemporaryDirectory() as folder:
                    took, nbytes[kind] = train(Path(folder), kind, options.width, options.steps, frozen)
                    seconds[kind].append(took)
        peer_s, peer_nbytes = statistics.median(seconds[KINDS[1]]), nbytes[KINDS[1]]
        for kind in KINDS:
            took, name = statistics.median(seconds[kind]), "two of three layers frozen" if frozen else "all layers"
            row = f"{took:.2f} | {took / peer_s:.2f} | {nbytes[kind] / 1e6:.0f} | {nbytes[kind] / peer_nbytes:.2f}"
            print(f"| {name} | {kind} | {row} |", flush=True)


if __name__ == "__main__":
    main()
