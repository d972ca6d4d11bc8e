"""Runs the digits example in a process of its own and writes down what its state was at every save and resume.

    python observed_training.py JOURNAL [--drop ITEM] [--die-at STEP] [-- arguments of the example]

Each line of JOURNAL is ``{"what": "save" | "resume" | "end", "step": N, "parts": {name: digest}}``; equal digests mean
equal bits: every tensor, every random stream, and the batch that the loader would hand out next. ``--drop`` leaves one
item out of what is saved and restored, to show that the comparison notices.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_checkpoint.checkpoint import capture as capture_module
from model_checkpoint.engine import Run
from model_checkpoint.frameworks.torch_data import ResumableLoader

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "train_digits.py"
STREAMS = ("python", "numpy", "torch")


def digest(value: object) -> str:
    """Return a digest of nested values in which a tensor counts with its bytes, type and shape."""
    sha = hashlib.sha256()

    def feed(part: object) -> None:
        if isinstance(part, torch.Tensor):
            sha.update(f"{part.dtype}{tuple(part.shape)}".encode())
            sha.update(part.detach().contiguous().numpy().tobytes())
        elif isinstance(part, np.ndarray):
            sha.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
        elif isinstance(part, dict):
            for key, item in part.items():
                sha.update(repr(key).encode())
                feed(item)
        elif isinstance(part, list | tuple):
            for item in part:
                feed(item)
        else:
            sha.update(repr(part).encode())

    feed(value)
    return sha.hexdigest()[:16]


def next_batch(loader: ResumableLoader) -> object:
    """Return what the loader would hand out next, without moving it."""
    twin = ResumableLoader(loader.dataset, batch_size=32, shuffle=True, seed=0, drop_last=True)
    twin.load_state_dict(loader.state_dict())
    return next(iter(twin), None)


def parts_of(objects: dict[str, Any]) -> dict[str, str]:
    """Return a digest of everything that decides how the training goes on."""
    return {
        "model": digest(objects["model"].state_dict()),
        "optimizer": digest(objects["optimizer"].state_dict()),
        "scheduler": digest(objects["scheduler"].state_dict()),
        "loader": digest(objects["loader"].state_dict()),
        "progress": digest(objects["progress"]),
        "next batch": digest(next_batch(objects["loader"])),
        "python": digest(random.getstate()),
        "numpy": digest(np.random.get_state()),
        "torch": digest(torch.get_rng_state()),
    }


def observe(journal: Path, drop: str | None, die_at: int | None) -> None:
    """Let `Run.save` and `Run.resume` write the journal; leave `drop` out; die of SIGKILL after saving `die_at`."""
    save, resume = Run.save, Run.resume
    everything: dict[str, Any] = {}

    def note(what: str, step: int) -> None:
        with journal.open("a") as file:
            file.write(json.dumps({"what": what, "step": step, "parts": parts_of(everything)}) + "\n")

    def observed_save(self: Run, **arguments: Any) -> str | None:
        saved = save(self, **arguments)
        note("save", everything["progress"]["step"])
        if die_at is not None and everything["progress"]["step"] >= die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return saved

    def observed_resume(self: Run, **objects: Any) -> Any:
        everything.update(objects)
        report = resume(self, **{name: obj for name, obj in objects.items() if name != drop})
        note("resume" if report else "fresh", report.step)
        print("training", flush=True)
        return report

    Run.save, Run.resume = observed_save, observed_resume  # type: ignore[method-assign, assignment]
    if drop in STREAMS:
        whole = capture_module.capture_rng
        capture_module.capture_rng = lambda adapters: {k: v for k, v in whole(adapters).items() if k != drop}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("journal", type=Path)
    parser.add_argument("--drop")
    parser.add_argument("--die-at", type=int)
    options, rest = parser.parse_known_args()
    observe(options.journal, options.drop, options.die_at)
    spec = importlib.util.spec_from_file_location("train_digits", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    sys.modules["train_digits"] = example
    spec.loader.exec_module(example)
    fingerprint = example.main([argument for argument in rest if argument != "--"])
    with options.journal.open("a") as file:
        file.write(json.dumps({"what": "end", "step": -1, "parts": {"weights": fingerprint}}) + "\n")


if __name__ == "__main__":
    main()
