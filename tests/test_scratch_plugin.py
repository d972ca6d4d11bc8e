"""A plugin from a scratch folder: begun, installed, found, used, disabled, and gone without a trace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.fresh_environment import Run
from tests.fresh_environment import run as run

pytest.importorskip("torch", reason="missing: torch; pip install -e '.[all]'")
pytest.importorskip("sklearn", reason="missing: scikit-learn; pip install -e '.[all]'")

EXAMPLE = Path(__file__).resolve().parents[1] / "docs/examples/train_digits.py"
PIP = ("-m", "pip", "--quiet")
MCE = ("-m", "model_checkpoint.cli.main")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scratch")]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_a_plugin_comes_does_its_work_and_goes_without_a_trace(run: Run, tmp_path: Path) -> None:
    scratch, training = tmp_path / "scratch", tmp_path / "training"
    scratch.mkdir()
    training.mkdir()

    def ok(*arguments: object, cwd: Path = training, status: int = 0) -> Any:
        done = run(*arguments, cwd=cwd)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    environment = Path(ok("-c", "import sys; print(sys.prefix)").stdout.strip())
    before = files_below(environment)
    ok(*MCE, "plugins", "new", "scratch", "--kind", "storage", cwd=scratch)
    ok(*PIP, "install", "--no-deps", "--no-build-isolation", scratch / "mce-scratch")

    assert "registered" in next(
        line for line in ok(*MCE, "plugins", "list").stdout.splitlines() if line.startswith("scratch ")
    )
    (training / "mce.toml").write_text("[storage]\nbackend = 'scratch'\n", "utf-8")
    ok(EXAMPLE, "--epochs", "2")
    stored = [name for name in os.listdir(training / "checkpoints/scratch") if name.endswith(".checkpoint")]
    assert len(stored) >= 2
    ok(*MCE, "verify")

    ok(*MCE, "plugins", "disable", "scratch", "--reason", "tried enough")
    refused = run(EXAMPLE, "--epochs", "3", cwd=training)
    assert refused.returncode != 0
    assert "disabled by the user (tried enough): mce plugins enable scratch" in refused.stderr

    ok(*MCE, "plugins", "enable", "scratch")
    ok(*PIP, "uninstall", "--yes", "mce-scratch")
    (training / "mce.toml").unlink()
    listed = ok(*MCE, "plugins", "list")
    assert "scratch" not in listed.stdout + listed.stderr
    left = {name for name in files_below(environment) - before if "plugins.json" not in name and name != "home"}
    assert left == set()
    assert "scratch" not in "".join(path.read_text("utf-8") for path in environment.glob("home/plugins.json"))
