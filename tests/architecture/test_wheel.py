"""The wheel that users install holds the whole of both portions and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(path).namelist())


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
class TestTheWheel:
    def test_it_holds_every_file_of_both_portions(self, wheel: set[str]) -> None:
        expected = {
            path.relative_to(portion).as_posix()
            for portion in (ROOT / "kernel", ROOT / "plugins_builtin")
            for path in portion.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

        assert {name for name in wheel if name.startswith("model_checkpoint/")} == expected

    def test_it_holds_nothing_but_the_namespace_and_its_own_description(self, wheel: set[str]) -> None:
        tops = {name.split("/")[0] for name in wheel}

        assert {top for top in tops if not top.endswith(".dist-info")} == {"model_checkpoint"}

    def test_it_carries_the_licence_and_the_plugins_entry_points(self, wheel: set[str]) -> None:
        described = {name.split("/", 1)[1] for name in wheel if ".dist-info/" in name}

        assert {"licenses/LICENSE", "entry_points.txt"} <= described
