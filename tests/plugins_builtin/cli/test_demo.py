"""``demo``: killed and started again, it ends with the same weights."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="missing: torch")
SHORT = ("--steps", "120", "--save-every", "40", "--json")


def test_a_demo_that_was_killed_goes_on_and_ends_with_the_same_weights(run_mce) -> None:
    whole = json.loads(run_mce("demo", "--folder", "whole", *SHORT).stdout)
    killed = run_mce("demo", "--folder", "broken", "--kill-at", "100", *SHORT)
    again = run_mce("demo", "--folder", "broken", *SHORT)
    rest = json.loads(again.stdout)

    assert killed.returncode == -signal.SIGKILL
    assert rest["first_step"] == 81
    assert rest["weights"] == whole["weights"]
    assert "None" not in again.stderr
    assert whole["resumed_from"] is None


def test_the_demo_says_what_to_look_at_next(run_mce) -> None:
    result = run_mce("demo", "--steps", "20")

    assert result.returncode == 0
    assert "mce ls" in result.stdout
    assert Path("mce-demo/experiments.db").exists()
    assert len(json.loads(run_mce("ls", "-C", "mce-demo", "--json").stdout)) == 1
