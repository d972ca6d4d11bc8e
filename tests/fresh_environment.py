"""A Python environment of its own that sees what is installed here, for what must not be installed beside the tests."""

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

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run Python, by default in a fresh environment that sees the packages of this one; nothing is downloaded."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("missing: hatchling, which builds plugins")
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
