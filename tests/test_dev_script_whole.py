"""`./dev` run as a reader runs it, in a scratch clone of a project that needs no package index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEV = Path(__file__).resolve().parents[1] / "dev"
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "stand-in"
version = "1"
dependencies = []

[project.optional-dependencies]
all = []
dev = []
"""
BACKEND = """
import zipfile
from pathlib import Path

def build_editable(folder, settings=None, metadata=None):
    from tomllib import loads
    needs = loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    name = "stand_in-1-py3-none-any.whl"
    about = ["Metadata-Version: 2.1", "Name: stand-in", "Version: 1", "Provides-Extra: all", "Provides-Extra: dev"]
    with zipfile.ZipFile(Path(folder) / name, "w") as wheel:
        wheel.writestr("stand_in.pth", str(Path.cwd() / "src"))
        wheel.writestr("stand_in-1.dist-info/METADATA", "\\n".join(about + [f"Requires-Dist: {n}" for n in needs]))
        tags = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("stand_in-1.dist-info/WHEEL", tags)
        wheel.writestr("stand_in-1.dist-info/RECORD", "")
    return name
"""
DEMO = """
import os, sys
import stand_in
print(sys.prefix, os.getcwd(), *sys.argv[1:], sep="|")
"""


def make_clone(root: Path) -> Path:
    shutil.copy(DEV, root / "dev")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "constraints.txt").write_text("")
    (root / "backend.py").write_text(BACKEND)
    (root / "docs/examples").mkdir(parents=True)
    (root / "docs/examples/train_digits.py").write_text(DEMO)
    (root / "src").mkdir()
    (root / "src/stand_in.py").write_text("")
    return root


def start(clone: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ./dev where no package index can be reached, so that uv cannot be had and pip does the work."""
    env = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, str(clone / "dev"), *arguments]
    return subprocess.run(command, cwd=cwd or clone, env=env, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which ./dev setup has run."""
    clone = make_clone(tmp_path_factory.mktemp("clone"))
    done = start(clone, "setup")
    assert done.returncode == 0, done.stderr
    assert "Trying pip instead" in done.stderr
    return clone


@pytest.mark.xdist_group("dev")
class TestAClone:
    def test_the_demo_runs_in_the_environment_from_the_root_with_its_arguments(self, clone: Path, tmp_path) -> None:
        done = start(clone, "demo", "--epochs", "3", cwd=tmp_path)

        assert done.stdout.strip() == f"{clone}/.venv|{clone}|--epochs|3"

    def test_a_second_start_installs_nothing_and_takes_about_a_second_at_most(self, clone: Path) -> None:
        started = time.monotonic()
        done = start(clone, "demo")

        assert done.stderr == ""
        assert time.monotonic() - started < 2

    def test_the_status_of_what_was_started_is_passed_on(self, clone: Path) -> None:
        assert start(clone, "test", "--version").returncode != 0  # there is no pytest in this environment

    def test_check_runs_every_check_and_names_those_that_failed(self, clone: Path) -> None:
        for name, status in {"ruff": 0, "mypy": 1, "lint-imports": 0}.items():
            program = clone / ".venv/bin" / name
            program.write_text(f"#!/bin/sh\nexit {status}\n")
            program.chmod(0o755)
        done = start(clone, "check")

        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "dev: failed: mypy"
        assert "lint-imports" in done.stderr


@pytest.mark.slow
def test_an_installation_that_fails_says_what_to_try_and_the_next_start_repairs_it(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    (clone / "pyproject.toml").write_text(PYPROJECT.replace("dependencies = []", 'dependencies = ["not-there"]', 1))
    failed = start(clone, "setup")
    (clone / "pyproject.toml").write_text(PYPROJECT)
    repaired = start(clone, "demo")

    assert failed.returncode == 1
    assert "neither by uv nor by pip" in failed.stderr
    assert "not-there" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert repaired.returncode == 0


@pytest.mark.parametrize("arguments", [("bench",), ("bench", "nothing")])
def test_a_benchmark_that_is_not_there_is_refused_with_the_known_ones_before_anything_is_installed(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    clone = make_clone(tmp_path)
    (clone / "tests/benchmarks").mkdir(parents=True)
    (clone / "tests/benchmarks/bench_save.py").touch()
    done = start(clone, *arguments)

    assert (done.returncode, "Known: all, save" in done.stderr) == (1, True)
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(("arguments", "status"), [(("--help",), 0), ((), 0), (("dmo",), 2)])
def test_without_a_known_command_it_explains_itself(tmp_path: Path, arguments: tuple[str, ...], status: int) -> None:
    done = start(make_clone(tmp_path), *arguments)

    assert done.returncode == status
    assert "./dev test" in done.stdout
