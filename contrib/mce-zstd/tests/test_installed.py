"""Installed, the plugin is found by its entry point and read by its manifest, and not imported before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
EXPORT = """
import sys
import numpy as np
from model_checkpoint.kernel import Kernel
with Kernel.open("sqlite:///x.db", quiet=True) as kernel, kernel.run("digits"):
    assert "mce_zstd" not in sys.modules, "imported before it was needed"
    saved = kernel.save({"model": {"w": np.arange(1000.0)}}, step=1)
    (file,) = kernel.export(saved, "cold.mcez", format="zstd")
    print(kernel.load(kernel.import_checkpoint(file))["model"]["w"].sum().item())
"""
ACTIVATE = """
from model_checkpoint.kernel import Kernel
with Kernel.open("sqlite:///x.db", quiet=True) as kernel:
    info = kernel.plugins.activate("zstd")
    print(info.state, info.provides, info.notes, info.error)
"""


def pretend_installed(folder: Path) -> None:
    """Write what an installation writes: the metadata with the entry points of pyproject.toml."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def run(folder: Path, script: str) -> str:
    """Run a script in a new process that finds the plugin as if it were installed."""
    (site := folder / "site").mkdir()
    pretend_installed(site)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(HERE)])}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_kernel_finds_the_codec_when_it_is_first_asked_for(tmp_path: Path) -> None:
    assert run(tmp_path, EXPORT) == "499500.0\n"


def test_the_manifest_says_what_is_true(tmp_path: Path) -> None:
    assert run(tmp_path, ACTIVATE) == "active ('codec:zstd',) () \n"


def test_its_section_of_the_configuration_reaches_it(tmp_path: Path) -> None:
    (tmp_path / "mce.toml").write_text("[plugins.zstd]\nlevel = 99\n")
    assert "level = 99: from 0 to 19" in run(tmp_path, ACTIVATE)
