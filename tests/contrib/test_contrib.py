"""Each contributed plugin is installed in an environment of its own, passes its own tests, and is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fresh_environment import Run
from tests.fresh_environment import run as run

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
NAMES = sorted(path.name for path in CONTRIB.iterdir() if (path / "pyproject.toml").exists())

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("contrib"), pytest.mark.timeout(900)]


def test_there_are_some() -> None:
    assert {"mce-jsonl-audit", "mce-zstd"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_own_tests_pass_and_it_is_found(name: str, run: Run, tmp_path: Path) -> None:
    pip = run("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet", CONTRIB / name)
    assert pip.returncode == 0, pip.stderr
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    tested = run("-m", "pytest", *options, CONTRIB / name / "tests", cwd=tmp_path, timeout_s=800)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    if "[project.entry-points" in (CONTRIB / name / "pyproject.toml").read_text("utf-8"):
        listed = run("-m", "model_checkpoint.cli.main", "plugins", "list", cwd=tmp_path)
        assert name.removeprefix("mce-") in listed.stdout, listed.stderr
    run("-m", "pip", "uninstall", "--yes", "--quiet", name)  # it would take part in the tests of the next
