"""One process among several that share a vault and a database: a training, a collector or a scrubber.

They use nothing but the public interface. Each keeps a diary, ``FOLDER/NAME``: a line is on the disk before the next
step is taken. They end in order once there is a file ``FOLDER/stop``.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_checkpoint.kernel import Kernel

KEPT, PINNED = 3, 1
"""How many checkpoints a training keeps: the newest, and those that it pinned."""
MASKS = 5
"""As many as let one come back when the last checkpoint that has it was deleted a moment ago."""


class Diary:
    """What a process did, line by line: ``saved ID STEP DIGEST``, ``deleting ID``..."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())  # in one piece: a kill leaves no half lines
        os.fsync(self._file)


def places(folder: Path) -> dict[str, Any]:
    """Return where everybody's records and checkpoints are."""
    return {"database_url": f"sqlite:///{folder}/records.db", "checkpoint_dir": folder / "checkpoints", "quiet": True}


def fingerprint(state: Mapping[str, object]) -> str:
    """Return a digest of the bytes of every tensor in a state, and of every other value, each with where it stands."""
    digest = hashlib.sha256()

    def take(path: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key in value:
                take(f"{path}/{key!r}", value[key])
        elif isinstance(value, list | tuple):
            take(path, dict(enumerate(value)))
        elif hasattr(value, "numpy"):
            digest.update(f"{path} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.contiguous().numpy().tobytes())
        else:
            digest.update(f"{path} {value!r}\n".encode())

    take("", state)
    return digest.hexdigest()


class Training:
    """A small network, its first half frozen, that learns which of ten inputs is the largest.

    Every weight at a step follows from the run's name and the step alone, however often it was killed before.
    """

    def __init__(self, name: str) -> None:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)  # the frozen half is the same in both runs
        backbone = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256))
        head = torch.nn.Sequential(torch.nn.Linear(256, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
        self.model = torch.nn.Sequential(backbone.requires_grad_(False), head)
        self.model.register_buffer("mask", torch.ones(64, 256))
        self.optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
        self.progress, self.seed = {"step": 0}, sum(name.encode())
        torch.manual_seed(self.seed)

    def objects(self) -> dict[str, Any]:
        """Return what is saved."""
        return {"model": self.model, "optimizer": self.optimizer, "progress": self.progress}

    def fingerprint(self) -> str:
        """Return the digest of what a save takes now."""
        states = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return fingerprint({**states, "progress": self.progress})

    def step(self) -> float:
        """Learn from one batch and return the loss."""
        import torch

        masks = torch.Generator().manual_seed(self.seed + self.progress["step"] // 2 % MASKS)
        self.model.mask.copy_(torch.rand(64, 256, generator=masks) > 0.1)
        inputs = torch.randn(64, 64)
        self.optimizer.zero_grad()
        hidden = self.model[0](inputs) * self.model.mask
        loss = torch.nn.functional.cross_entropy(self.model[1](hidden), inputs[:, :10].argmax(1))
        loss.backward()
        self.optimizer.step()
        self.progress["step"] += 1
        return loss.item()


def train(folder: Path, name: str, chosen: random.Random, diary: Diary) -> None:
    """Train and save; acknowledge what is durable; pin, tag and delete now and then."""
    import model_checkpoint.engine as mc

    training = Training(name)
    run = mc.start("shared", run=name, **places(folder))
    resumed, kernel = run.resume(**training.objects()), run.kernel
    if resumed.skipped:
        raise AssertionError(f"checkpoints were passed over: {resumed.skipped}")
    diary.write("resumed", resumed.checkpoint_id, resumed.step, training.fingerprint())
    loss, unheard = 9.0, list[tuple[str | None, int, str]]()
    while not (folder / "stop").exists():
        for _ in range(chosen.randrange(4)):  # none: the same tensors are saved again
            loss = training.step()
            run.log(train_loss=loss, step=training.progress["step"])
        step, wait = training.progress["step"], chosen.random() < 0.6
        digest = training.fingerprint()
        unheard.append((run.save(step=step, val_loss=loss, tags={"mood": "new"}, wait=wait), step, digest))
        if wait or len(unheard) > 2:
            for saved in unheard:
                kernel.wait(str(saved[0]))
                diary.write("saved", *saved)
            tend(kernel, str(unheard[-1][0]), chosen, diary)
            unheard.clear()
    for saved in unheard:
        kernel.wait(str(saved[0]))
        diary.write("saved", *saved)
    run.finish()


def tend(kernel: Kernel, newest: str, chosen: random.Random, diary: Diary) -> None:
    """Pin or tag the newest checkpoint now and then, and delete the old ones. What will go is said before it goes."""
    if chosen.random() < 0.05:
        kernel.pin(newest)
        diary.write("pinned", newest)
    if chosen.random() < 0.05:
        kernel.tag(newest, {"mood": "good"})
        diary.write("tagged", newest)
    records = kernel.checkpoints()
    for record in [record for record in records if record.pinned][PINNED:]:
        diary.write("unpinning", record.id)
        kernel.unpin(record.id)
    for record in [record for record in records[KEPT:] if not record.pinned]:
        if chosen.random() < 0.7:
            diary.write("deleting", record.id)
            kernel.delete(record.id)
            diary.write("deleted", record.id)


def collect(folder: Path, diary: Diary) -> None:
    """Clean up again and again."""
    with Kernel.open(**places(folder)) as kernel:
        while not (folder / "stop").exists():
            report = kernel.collect()
            diary.write("collected", len(report.removed), report.nbytes_freed, report.skipped)
            time.sleep(0.02)


def scrub(folder: Path, diary: Diary, parts: int = 3) -> None:
    """Read everything that is stored, a part after another."""
    with Kernel.open(**places(folder)) as kernel:
        while not (folder / "stop").exists():
            for part in range(1, parts + 1):
                report = kernel.check_store(depth="full", subset=f"{part}/{parts}")
                diary.write("scrubbed", len(report.verified))
                for checkpoint_id, why in report.damaged.items():
                    diary.write("damaged", checkpoint_id, why)
                for checkpoint_id in report.missing:
                    diary.write("missing", checkpoint_id)
                time.sleep(0.1)


def main(folder: Path, role: str, name: str, seed: int) -> None:
    """Be one of them; what goes wrong is told in ``FOLDER/NAME.errors``, and SIGABRT tells there what is being done."""
    os.dup2(os.open(folder / f"{name}.errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    faulthandler.enable(2)
    chosen, diary = random.Random(seed), Diary(folder / name)
    diary.write("began")
    if role == "training":
        train(folder, name, chosen, diary)
    elif role == "collector":
        collect(folder, diary)
    else:
        scrub(folder, diary)
