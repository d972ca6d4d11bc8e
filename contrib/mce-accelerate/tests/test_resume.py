"""A training that was killed and resumed ends with the bits of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def train(folder: Path, *, kill_at: int = 0, kind: str) -> int:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, HERE / "accelerate_training.py", folder, str(kill_at), kind],
        env={**environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("how", ["state", "run"])
def test_a_killed_training_ends_as_if_nothing_had_happened(tmp_path: Path, how: str) -> None:
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
    train(tmp_path / "calm", kind=how)
    assert train(tmp_path / "killed", kill_at=15, kind=how) == -signal.SIGKILL
    assert train(tmp_path / "killed", kind=how) == 0
    calm, killed = (torch.load(tmp_path / name / "end.pt", weights_only=True) for name in ("calm", "killed"))
    assert (calm["step"], calm["losses"]) == (killed["step"], killed["losses"])
    assert all(torch.equal(calm["weights"][name], killed["weights"][name]) for name in calm["weights"])
