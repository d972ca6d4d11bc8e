"""A store made by the kernel, and ``mce`` called on it: in this process, or as the command that it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from model_checkpoint.cli.main import command_line
from model_checkpoint.kernel import Kernel

NEWS = """
    from dataclasses import dataclass
    from model_checkpoint.hooks import hookimpl

    @dataclass(frozen=True)
    class Config:
        min_change: float = 0.5
        \"\"\"How much better it must be.\"\"\"
        token: str = ""
        sizes: tuple[int, ...] = ()

    @hookimpl
    def on_best_model_update(context):
        pass
    """
NEWS_MANIFEST = 'hooks = ["on_best_model_update"]\n'
Call = Callable[..., Result]
CallJson = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder, with no settings but the defaults and no plugin that the user disabled."""
    for variable in os.environ:
        if variable.startswith(("MCE_", "SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(variable)
    home = tmp_path_factory.mktemp("home")
    for variable in ("HOME", "MCE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    with Kernel.open(f"sqlite:///{folder}/experiments.db", quiet=True) as kernel:
        for experiment, losses in (("digits", [0.3, 0.12, 0.15]), ("letters", [0.05])):
            with kernel.run(experiment, tags={"stage": "dev"}):
                for step, val_loss in enumerate(losses):
                    weights = {"w": np.arange(6, dtype=np.float32) + step, "fixed": np.ones(4)}
                    kernel.save({"model": weights}, step=step, metrics={"val_loss": val_loss}, tags=["kept"])
    return folder


@pytest.fixture
def store(_made: Path) -> Path:
    """The working directory, with a store of four checkpoints in two runs: digits-1 with three, then letters-1."""
    shutil.copytree(_made, Path.cwd(), dirs_exist_ok=True)
    return Path.cwd()


@pytest.fixture
def ids(store: Path) -> list[str]:
    """The ids in the store, the oldest first."""
    with Kernel.open("sqlite:///experiments.db", quiet=True) as kernel:
        return [record.id for record in reversed(kernel.records.list_checkpoints())]


@pytest.fixture
def mce() -> Call:
    """Call ``mce`` in this process."""
    return lambda *arguments: CliRunner().invoke(command_line(), [str(each) for each in arguments], prog_name="mce")


@pytest.fixture
def mce_json(mce: Call) -> CallJson:
    """Call ``mce`` in this process with ``--json`` and return what it printed, with its exit status checked."""

    def call(*arguments: object, status: int = 0) -> Any:
        result = mce(*arguments, "--json")
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

    return call


@pytest.fixture
def run_mce() -> Run:
    """Run ``mce`` as a process of its own; `env` is added to the environment."""

    def run(*arguments: object, env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        called = [sys.executable, "-m", "model_checkpoint.cli.main", *map(str, arguments)]
        environment = {**os.environ, **(env or {})}
        return subprocess.run(called, capture_output=True, text=True, env=environment, timeout=120, **more)

    return run


@pytest.fixture
def project(tmp_path: Path) -> Install:
    """Write the project of a plugin: ``pyproject.toml``, its package with ``plugin.toml``; return its folder."""

    def make(name: str, code: str, manifest: str | None = "", entry: str | None = None) -> Path:
        folder = tmp_path / f"mce-{name}"
        module = f"mce_{name.replace('-', '_')}"
        package = folder / "src" / module
        package.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "mce-{name}"\nversion = "1.0"\n'
            f'[project.entry-points."model_checkpoint.plugins"]\n{name} = "{entry or module}"\n'
        )
        (package / "__init__.py").write_text(textwrap.dedent(code))
        if manifest is not None:
            (package / "plugin.toml").write_text(f"[plugin.{name}]\n{textwrap.dedent(manifest)}")
        return folder

    return make


@pytest.fixture
def install(project: Install, tmp_path: Path) -> Install:
    """Install a plugin into a folder for ``PYTHONPATH``, as pip would have left it; return that folder."""

    def make(name: str, code: str, manifest: str | None = "") -> Path:
        source, site = project(name, code, manifest), tmp_path / "site"
        shutil.copytree(source / "src", site, dirs_exist_ok=True)
        module = f"mce_{name.replace('-', '_')}"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mce-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[model_checkpoint.plugins]\n{name} = {module}\n")
        return site

    return make


@pytest.fixture
def news(install: Install) -> dict[str, str]:
    """The environment of a process that has a plugin with settings: ``best-news``."""
    return {"PYTHONPATH": str(install("best-news", NEWS, NEWS_MANIFEST))}


@pytest.fixture
def unavailable(ids: list[str], mce: Call) -> str:
    """The id of a checkpoint whose storage backend is disabled, and set for new checkpoints besides."""
    with Kernel.open("sqlite:///experiments.db", storage_backend="safetensors", quiet=True) as kernel:
        kernel.start_run("letters")
        saved = kernel.save({"model": {"w": np.zeros(3)}}, step=9, metrics={"val_loss": 0.01})
    assert mce("plugins", "disable", "safetensors").exit_code == 0
    Path("mce.toml").write_text('[storage]\nbackend = "safetensors"\n')
    return saved
