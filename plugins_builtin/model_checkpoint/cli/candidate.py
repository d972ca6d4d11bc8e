"""Lets the plugins of a project's folder be found as if it were installed, so that they can be checked before it is."""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from model_checkpoint.errors import ConfigurationError

GROUP = "model_checkpoint.plugins"


@contextlib.contextmanager
def as_if_installed(project: Path) -> Iterator[list[str]]:
    """Put a project's metadata and code on ``sys.path``, and give the names of its plugins.

    Raises ``ConfigurationError`` where the folder holds no project that declares a plugin.
    """
    name, version, needs, points = _declared(project / "pyproject.toml")
    with tempfile.TemporaryDirectory(prefix="mce-check-") as place:
        info = Path(place, f"{name.replace('-', '_')}-{version}.dist-info")
        info.mkdir()
        headers = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
        info.joinpath("METADATA").write_text("\n".join(["Metadata-Version: 2.1", *headers, ""]), "utf-8")
        lines = [f"{point} = {target}" for point, target in points.items()]
        info.joinpath("entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]), "utf-8")
        code = [str(folder.resolve()) for folder in (project / "src", project) if folder.is_dir()]
        before = sys.path[:]
        sys.path[:0] = [place, *code]  # before an installed version of the same
        importlib.invalidate_caches()
        try:
            yield sorted(points)
        finally:
            sys.path[:] = before


def _declared(file: Path) -> tuple[str, str, list[str], dict[str, str]]:
    """Return name, version, dependencies and plugins of a project."""
    if not file.is_file():
        raise ConfigurationError(f"{file.parent} holds no project: there is no {file.name} in it")
    try:
        project = tomllib.loads(file.read_text("utf-8")).get("project", {})
        name, version = str(project["name"]), str(project.get("version", "0"))
        needs = [str(need) for need in project.get("dependencies", [])]
        points = {str(point): str(target) for point, target in project.get("entry-points", {}).get(GROUP, {}).items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    except (KeyError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"{file} declares no project: [project] needs a name ({error})") from error
    if not points:
        raise ConfigurationError(
            f'{file} declares no plugin: write one line NAME = "package.module" under [project.entry-points."{GROUP}"]'
        )
    if any(not text.isprintable() or "/" in text for text in (name, version, *needs, *points, *points.values())):
        raise ConfigurationError(f"{file} holds a slash, line break or control character in a name: take it out")
    return name, version, needs, points
