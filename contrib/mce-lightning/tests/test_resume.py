"""A fit that was killed and resumed ends with the weights of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def train(folder: Path, *, kill_at: int = 0, resume: bool = False, every: int = 0, loader: str = "plain") -> int:
    folder.mkdir(exist_ok=True)
    arguments = [folder, 4, kill_at, "last" if resume else "", every, loader]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, HERE / "lightning_training.py", *map(str, arguments)],
        env={**environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize(
    ("kill_at", "every", "loader"), [(14, 0, "plain"), (15, 4, "resumable")], ids=["between epochs", "within an epoch"]
)
def test_a_killed_fit_ends_as_if_nothing_had_happened(tmp_path: Path, kill_at: int, every: int, loader: str) -> None:
    train(tmp_path / "whole", every=every, loader=loader)
    assert train(tmp_path / "killed", kill_at=kill_at, every=every, loader=loader) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "end.pt").exists()
    assert train(tmp_path / "killed", resume=True, every=every, loader=loader) == 0
    whole, resumed = (torch.load(tmp_path / name / "end.pt", weights_only=True) for name in ("whole", "killed"))
    assert whole["step"] == resumed["step"] == 24
    assert all(torch.equal(whole["weights"][key], resumed["weights"][key]) for key in whole["weights"])
