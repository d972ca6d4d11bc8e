"""New plugins, on disk and in a Python environment of their own that sees what is installed here."""

from __future__ import annotations

import importlib.util
import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model_checkpoint.cli.scaffold.command import new
from model_checkpoint.cli.scaffold.kinds import KINDS

NAMES = {kind: f"my-{kind}" for kind in KINDS}
Run = Callable[..., subprocess.CompletedProcess[str]]


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
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run Python, by default in a fresh environment that sees the packages of this one; nothing is downloaded."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("missing: hatchling, which builds the new plugins")
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    python = folder / "bin/python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    seen = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *_on_path()}
    lines = [f"import site; site.addsitedir({each!r})" for each in sorted(seen)]
    Path(purelib, "packages_of_the_tests.pth").write_text("\n".join(lines) + "\n", "utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MCE_", "PYTEST", "PYTHON"))}

    def run(*arguments: object, cwd: Path | None = None, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        command = [str(python), *(str(each) for each in arguments)]
        extra = {"MCE_HOME": str(folder / "home"), "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return subprocess.run(
            command, cwd=cwd or folder, env={**environ, **extra}, capture_output=True, text=True, timeout=timeout_s
        )

    return run


def _on_path() -> set[str]:
    """Return the folders of packages that were put on the path of this process by hand."""
    return {each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each} | {
        each for each in site.getsitepackages() if Path(each).is_dir()
    }


@pytest.fixture(scope="session")
def installed(run: Run, projects: dict[str, Path]) -> Run:
    """The same environment with a new plugin of every kind in it, built and installed as wheels."""
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    done = run("-m", "pip", "install", *options, *projects.values())
    assert done.returncode == 0, done.stderr
    return run
