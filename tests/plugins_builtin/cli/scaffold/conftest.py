"""New plugins, on disk and in a Python environment of their own that sees what is installed here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.fresh_environment import Run
from tests.fresh_environment import run as run

from model_checkpoint.cli.scaffold.command import new
from model_checkpoint.cli.scaffold.kinds import KINDS

NAMES = {kind: f"my-{kind}" for kind in KINDS}


@pytest.fixture
def call() -> Callable[..., Result]:
    """Call ``mce plugins new``."""
    return lambda *arguments: CliRunner().invoke(new, [str(each) for each in arguments])


@pytest.fixture(scope="session")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A new plugin of every kind, by kind."""
    folder = tmp_path_factory.mktemp("projects")
    for kind, name in NAMES.items():
        done = CliRunner().invoke(new, [name, "--kind", kind, "--into", str(folder)])
        assert done.exit_code == 0, done.output
    return {kind: folder / f"mce-{name}" for kind, name in NAMES.items()}


@pytest.fixture(scope="session")
def installed(run: Run, projects: dict[str, Path]) -> Run:
    """The same environment with a new plugin of every kind in it, built and installed as wheels."""
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    done = run("-m", "pip", "install", *options, *projects.values())
    assert done.returncode == 0, done.stderr
    return run
