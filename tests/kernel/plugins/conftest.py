"""Throw-away distributions with entry points."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a distribution: its ``dist-info`` folder and modules, as pip would have left them.

    With a `manifest` its module is a package with that ``plugin.toml``.
    """
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    modules_before = set(sys.modules)

    def make(
        distribution: str,
        entry_points: Mapping[str, str],
        *,
        version: str = "1.0",
        manifest: str = "",
        requires: str = "",
        **modules: str,
    ) -> None:
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{requires}")
        lines = "".join(f"{name} = {target}\n" for name, target in entry_points.items())
        (info / "entry_points.txt").write_text(f"[model_checkpoint.plugins]\n{lines}")
        for module, source in modules.items():
            if manifest:  # it stands in a package
                (folder / module).mkdir()
                (folder / module / "plugin.toml").write_text(textwrap.dedent(manifest))
            path = folder / module / "__init__.py" if manifest else folder / f"{module}.py"
            path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()

    yield make
    for module in set(sys.modules) - modules_before:
        if str(folder) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
