"""A training goes on while its configuration file is written, renamed, swapped and broken under it.

The training is a process of its own. After each step it says which generation and which depth of verification are in
force; the test changes the file and waits for what the training says next.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="missing: torch; pip install -e '.[torch]'")

TRAINING = """
import json, sys, time
import torch
import model_checkpoint.engine as mc

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
run = mc.start("reloading", quiet=True)
step = 0
while True:
    optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
    run.log(loss=loss.item(), step=step)
    if step % 20 == 0:
        run.save(step=step, model=model, optimizer=optimizer)
    config = run.kernel.config
    print(json.dumps([step, config.generation, config.storage.verify]), flush=True)
    step += 1
    time.sleep(0.01)
"""
PATIENCE_S = 20.0


class Training:
    """The process, and what it said last."""

    def __init__(self, folder: Path) -> None:
        environ = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "none")}
        self.log = (folder / "stderr.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINING],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.generation = 0

    def says(self) -> list[Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the training ended:\n" + self.complaints()
        said: list[Any] = json.loads(line)
        assert said[1] >= self.generation, "a generation went back"
        self.generation = said[1]
        return said

    def reaches(self, verify: str) -> int:
        """Wait until `verify` is in force, and return the generation."""
        deadline = time.monotonic() + PATIENCE_S
        while (said := self.says())[2] != verify:
            assert time.monotonic() < deadline, f"still {said}\n" + self.complaints()
        return int(said[1])

    def stays(self, generation: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.says()[1] == generation, self.complaints()

    def complaints(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text("utf-8")


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    (tmp_path / "mce.toml").write_text(settings("fast"))
    started = Training(tmp_path)
    yield started
    started.process.kill()
    started.process.wait()
    assert started.process.stdout is not None
    started.process.stdout.close()
    started.log.close()


def settings(verify: str) -> str:
    return f"[storage]\nverify = '{verify}'\n"


@pytest.mark.slow
def test_a_file_may_be_written_renamed_and_broken_under_a_training(training: Training, tmp_path: Path) -> None:
    file = tmp_path / "mce.toml"
    assert training.reaches("fast") == 0

    file.write_text(settings("full"))  # in place
    assert training.reaches("full") == 1

    edited = tmp_path / ".mce.toml.swp"  # as editors do
    edited.write_text(settings("header"))
    os.replace(edited, file)
    assert training.reaches("header") == 2

    with file.open("w") as half:  # half of it for a while
        half.write("[storage]\nveri")
        half.flush()
        training.stays(2, 0.8)
        half.write("fy = 'full'\n")
    assert training.reaches("full") == 3

    for broken in (b"[storage\n", b"[storage]\nverify = '\xff'\n", b"[storage]\nverfy = 'fast'\n"):
        file.write_bytes(broken)
        training.stays(3, 0.8)
    assert training.complaints().count("not taken over") >= 4  # the half-written one too
    assert "did you mean 'storage.verify'" in training.complaints()

    file.write_text(settings("fast"))
    assert training.reaches("fast") == 4


@pytest.mark.slow
def test_a_mounted_config_map_may_be_swapped_under_a_training(tmp_path: Path) -> None:
    for number, verify in enumerate(("fast", "full", "header")):
        folder = tmp_path / f"..v{number}"
        folder.mkdir()
        (folder / "mce.toml").write_text(settings(verify))
    (tmp_path / "..data").symlink_to("..v0")
    (tmp_path / "mce.toml").symlink_to("..data/mce.toml")
    training = Training(tmp_path)
    try:
        assert training.reaches("fast") == 0
        for number, verify in ((1, "full"), (2, "header")):
            (tmp_path / "..data_tmp").symlink_to(f"..v{number}")
            os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
            assert training.reaches(verify) == number
    finally:
        training.process.kill()
        training.process.wait()
        assert training.process.stdout is not None
        training.process.stdout.close()
        training.log.close()
