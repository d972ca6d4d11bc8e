"""The tutorial does what it says: its files are written and its commands run, in order, in a folder of their own."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs/tutorial_plugin.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+\.(?:py|toml))`")


class Block(NamedTuple):
    """A file to write, or a command to run with what it prints."""

    kind: str
    what: str
    """The file's path, or the command."""
    text: str


def blocks(page: str) -> Iterator[Block]:
    """Yield the files and commands of a page in order. A file's name is the first in the paragraph before its block."""
    end = 0
    for fence in FENCE.finditer(page):
        before, end = page[end : fence.start()], fence.end()
        language, body = fence.groups()
        if language != "console":
            named = FILE.findall(before.strip().rpartition("\n\n")[2])
            assert named, f"no file is named before {body!r}"
            yield Block("file", named[0], body)
            continue
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Block("command", command, output)


def test_the_blocks_of_a_page_are_found_in_order() -> None:
    page = (
        "Write `a.py`:\n\n```python\nx\n```\n\n```console\n$ one\nsaid\n$ two\n```\n\n"
        "Now `b/c.toml`, so:\n\n```toml\ny\n```\n"
    )

    assert [*blocks(page)] == [
        Block("file", "a.py", "x\n"),
        Block("command", "one", "said\n"),
        Block("command", "two", ""),
        Block("file", "b/c.toml", "y\n"),
    ]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The variables of a reader whose Python environment sees the packages of this one and can download nothing."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("missing: hatchling, which the tutorial builds its plugin with")
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    by_hand = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    seen = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages(), *by_hand}
    lines = [f"import site; site.addsitedir({each!r})" for each in sorted(seen)]
    (folder / f"lib/python{python}/site-packages/packages_of_the_tests.pth").write_text("\n".join(lines) + "\n")
    pip = folder / "bin/pip"
    pip.write_text('#!/bin/sh\nexec python -m pip "$@" --no-build-isolation\n')
    pip.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MCE_", "PYTEST", "PYTHON"))}
    return {
        **kept,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "MCE_HOME": str(tmp_path / "home"),
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # a file is written twice within a second
    }


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path, environ: dict[str, str]) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    compare = doctest.OutputChecker()
    for kind, what, text in blocks(PAGE.read_text("utf-8")):
        if kind == "file":
            (folder / what).parent.mkdir(parents=True, exist_ok=True)
            (folder / what).write_text(text, "utf-8")
            continue
        done = subprocess.run(what, shell=True, cwd=folder, env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"$ {what}\n{done.stdout}{done.stderr}"
        assert compare.check_output(text, done.stdout, doctest.ELLIPSIS), f"$ {what}\n{done.stdout}{done.stderr}"
