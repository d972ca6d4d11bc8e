"""Installed, the plugin is found by its entry point and read by its manifest, and records from then on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from mce_jsonl_audit import verify

HERE = Path(__file__).resolve().parents[1]
TRAIN = """
from model_checkpoint.kernel import Kernel
with Kernel.open("sqlite:///x.db", quiet=True) as kernel, kernel.run("digits"):
    kernel.save({"w": {"a": 1}}, step=1)
    info = kernel.plugins.get("jsonl-audit")
    print(info.state, info.error)
"""
MCE = """
import sys
from importlib.metadata import entry_points
sys.argv = ["mce", *{0!r}]
(command,) = entry_points(group="console_scripts", name="mce")
sys.exit(command.load()())
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
    if not (site := folder / "site").exists():
        site.mkdir()
        pretend_installed(site)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(HERE)])}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_records_from_the_first_moment_without_being_asked(tmp_path: Path) -> None:
    assert run(tmp_path, TRAIN) == "active \n"
    events = [json.loads(line)["event"] for line in (tmp_path / "checkpoints/audit.jsonl").read_text().splitlines()]
    assert {"after_plugin_load", "on_system_start", "after_checkpoint_save", "on_system_shutdown"} <= set(events)
    assert verify(tmp_path / "checkpoints/audit.jsonl").ok


def test_its_section_of_the_configuration_reaches_it(tmp_path: Path) -> None:
    section = '[plugins.jsonl-audit]\npath = "elsewhere.jsonl"\nevents = ["on_run_start"]\ndurable = true\n'
    (tmp_path / "mce.toml").write_text(section)
    assert run(tmp_path, TRAIN) == "active \n"
    events = [json.loads(line)["event"] for line in (tmp_path / "elsewhere.jsonl").read_text().splitlines()]
    assert events == ["", "on_run_start"]


def test_a_wrong_section_stops_the_plugin_alone_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "mce.toml").write_text('[plugins.jsonl-audit]\nevents = ["on_run_strat"]\n')
    assert "did you mean 'on_run_start'?" in run(tmp_path, TRAIN)


def test_the_command_is_listed_and_verifies_without_recording_anything(tmp_path: Path) -> None:
    run(tmp_path, TRAIN)
    before = (tmp_path / "checkpoints/audit.jsonl").read_bytes()
    assert "verify the audit trail" in run(tmp_path, MCE.format(["--help"]))
    shown = run(tmp_path, MCE.format(["audit", "verify", "checkpoints/audit.jsonl"]))
    assert shown.startswith("whole: ")
    assert (tmp_path / "checkpoints/audit.jsonl").read_bytes() == before
