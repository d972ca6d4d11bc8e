"""Fills the templates of a kind in and puts them into a new folder, which appears as a whole or not at all.

A template is a file below ``templates/`` whose name ends in ``.txt``, so that no tool takes it for what it will be.
Its placeholders are those of ``string.Template``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from keyword import iskeyword, issoftkeyword
from pathlib import Path
from string import Template

from model_checkpoint.cli.scaffold.kinds import KINDS
from model_checkpoint.errors import ConfigurationError, InvalidNameError

TEMPLATES = Path(__file__).with_name("templates")
MAX_NAME_LENGTH = 50
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")  # a name as PEP 508 has it
_ENTRY_POINTS = "model_checkpoint.plugins"
_OWN_DISTRIBUTION = "model-checkpoint-engine"


def checked_name(given: str) -> str:
    """Return the normalised name of a new plugin: ``My_Store`` and ``mce-my-store`` are ``my-store``.

    Raises ``InvalidNameError`` for what is no name of a distribution, a word of Python, or a plugin that ships with the
    engine.
    """
    shown = repr(given) if len(given) <= 80 else repr(given[:77] + "...")
    if len(given) > MAX_NAME_LENGTH or not _NAME.fullmatch(given):
        raise InvalidNameError(
            f"{shown} cannot be the name of a plugin: use letters, digits and . _ -, begin and end with a letter or"
            f" digit, at most {MAX_NAME_LENGTH} characters"
        )
    name = re.sub(r"[-_.]+", "-", given).lower()
    name = name.removeprefix("mce-")
    if iskeyword(name) or issoftkeyword(name) or name in ("mce", "manifest"):  # tests/test_manifest.py is there already
        raise InvalidNameError(f"{shown} cannot be the name of a plugin: it means something else already")
    if name in _builtin_names():
        raise InvalidNameError(f"the plugin {name!r} ships with the engine: choose another name")
    return name


def rendered(name: str, kind: str) -> dict[str, str]:
    """Return the content of every file of the distribution, by path within it."""
    module = f"mce_{name.replace('-', '_')}"
    about = KINDS[kind]
    words = {"name": name, "module": module, "dist": f"mce-{name}", "summary": about.summary}
    words["target"] = f"{module}.plugin:{about.obj}" if about.obj else f"{module}.plugin"
    words["use"] = Template(about.use).substitute(words)
    words["row"] = f"| `{module}/{about.work}.py` | what it does |\n" if about.work != "plugin" else ""
    common, own = TEMPLATES / "common", TEMPLATES / kind
    files = {
        "pyproject.toml": common / "pyproject.toml.txt",
        "README.md": common / "README.md.txt",
        f"{module}/__init__.py": common / "init.py.txt",
        "tests/test_manifest.py": common / "test_manifest.py.txt",
        f"tests/test_{module.removeprefix('mce_')}.py": own / "test_plugin.py.txt",
    }
    for template in sorted(own.glob("*.txt")):
        if template.name != "test_plugin.py.txt":
            files[f"{module}/{template.name.removesuffix('.txt')}"] = template
    found = {path: Template(template.read_text("utf-8")).substitute(words) for path, template in files.items()}
    return {**found, f"{module}/py.typed": ""}


def write(files: Mapping[str, str], target: Path, *, force: bool) -> None:
    """Put `files` into the folder `target`.

    One that exists is refused, or with `force` kept: files of the same names are replaced, others are left alone.
    Raises ``ConfigurationError``, OSError; then nothing new is there.
    """
    exists = target.is_symlink() or target.exists()
    if exists and not force:
        raise ConfigurationError(f"{target} exists already: choose another name or folder, or replace it with --force")
    if exists and (target.is_symlink() or not target.is_dir()):
        raise ConfigurationError(f"{target} is no folder, and --force replaces files in a folder only")
    beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        for path, text in files.items():
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            (beside / path).write_text(text, "utf-8")
        if exists:
            _replace_within(beside, target, files)
        else:
            beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace_within(source: Path, target: Path, files: Mapping[str, str]) -> None:
    """Move `files` from one folder into another; where one cannot be moved, take back those that were."""
    moved: list[Path] = []
    kept = source / "kept"
    try:
        for path in files:
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists() or place.is_symlink():
                (kept / path).parent.mkdir(parents=True, exist_ok=True)
                place.rename(kept / path)
            (source / path).rename(place)
            moved.append(Path(path))
    except OSError:
        for path in files:
            if Path(path) in moved:
                (target / path).unlink()
            if (kept / path).exists():
                with contextlib.suppress(OSError):
                    (kept / path).rename(target / path)
        raise


def _builtin_names() -> set[str]:
    from importlib.metadata import entry_points

    points = entry_points(group=_ENTRY_POINTS)
    return {point.name for point in points if point.dist is not None and point.dist.name == _OWN_DISTRIBUTION}
