"""The examples run from start to end, in an empty directory, and print what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PRINTS = {
    "quick_start.py": [
        "best        quick_start-1-e00",
        "saves       12, p50",
        "was not uploaded to s3://ml-checkpoints",
    ],
    "frozen_backbone.py": ["whole   20 checkpoints of", "frozen  20 checkpoints of", ": 13."],
    "hook_examples.py": [
        "not a number: None - the checkpoint was not saved",
        "critical\n  normal\n  low",
        "switched off: True",
        "one second of sleep cost less than half",
        "told of on_metric_threshold",
        "succeeded at attempt 3",
        "milestone-100",
    ],
}


def run(example: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCE_")}
    command = [sys.executable, "-W", "error::ResourceWarning", str(EXAMPLES / example), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, env=environment)


def test_every_example_is_run_by_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*PRINTS, "train_digits.py"}


@pytest.mark.parametrize("example", PRINTS)
def test_an_example_prints_what_it_shows(example: str, tmp_path: Path) -> None:
    done = run(example, tmp_path)

    assert done.returncode == 0, done.stderr
    assert [text for text in PRINTS[example] if text not in done.stdout] == []


def test_the_digits_are_learnt_and_a_second_start_begins_another_run(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="missing: pip install 'model-checkpoint-engine[examples]'")
    first, second = (run("train_digits.py", tmp_path, "--epochs", "2", "--width", "16") for _ in range(2))

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "digits-1: a fresh start" in first.stdout
    assert "digits-2: a fresh start" in second.stdout
    assert first.stdout.splitlines()[-1].split()[:2] == second.stdout.splitlines()[-1].split()[:2], "the same weights"


def test_the_hook_examples_leave_nothing_behind(tmp_path: Path) -> None:
    assert run("hook_examples.py", tmp_path).returncode == 0
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and "runs" not in path.parts] in (
        [],
        [".gitignore"],
    )
