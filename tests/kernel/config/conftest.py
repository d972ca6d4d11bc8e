"""A folder with configuration files, and what is read from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.config import ConfigSources, Loaded, load

LAYERS = ("machine", "user", "project", "secrets", "enforced")


class Folder:
    """Writes ``<layer>.toml`` files, and reads them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, layer: str) -> Path:
        return self.path / f"{layer}.toml"

    def write(self, layer: str, content: str | bytes) -> Path:
        self.file(layer).write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.file(layer)

    def sources(
        self, environ: Mapping[str, str] | None = None, environment: str = "development", **more: Any
    ) -> ConfigSources:
        files = tuple((layer, self.file(layer)) for layer in LAYERS)
        return ConfigSources(files, environment=environment, environ=environ or {}, cwd=self.path, **more)

    def load(self, environ: Mapping[str, str] | None = None, environment: str = "development", **more: Any) -> Loaded:
        return load(self.sources(environ, environment, **more))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder for the files of every layer."""
    return Folder(tmp_path)


@pytest.fixture(scope="session")
def folders() -> type[Folder]:
    """The class, for tests that need many folders."""
    return Folder
