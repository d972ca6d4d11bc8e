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
        [sys.executable, HERE / "hf_training.py", folder, str(kill_at), kind],
        env={**environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("kind", ["whole", "lora"])
def test_a_killed_training_ends_as_if_nothing_had_happened(tmp_path: Path, kind: str) -> None:
    train(tmp_path / "calm", kind=kind)
    assert train(tmp_path / "killed", kill_at=17, kind=kind) == -signal.SIGKILL  # in the middle of the second epoch
    assert train(tmp_path / "killed", kind=kind) == 0
    calm, killed = (torch.load(tmp_path / name / "end.pt", weights_only=True) for name in ("calm", "killed"))
    assert calm["history"] == killed["history"]
    assert all(torch.equal(calm["weights"][name], killed["weights"][name]) for name in calm["weights"])
    for index, moments in calm["optimizer"].items():
        assert all(torch.equal(value, killed["optimizer"][index][name]) for name, value in moments.items())
