"""Reads ``plugin.toml``: what plugins declare of themselves, so that nobody has to import them to know it.

Whatever is wrong with a table is told at once, with the file and the table, and takes down that table's plugin alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.common.toml_text import DEEPEST_KEY, line_of_deep_key
from model_checkpoint.errors import ManifestError
from model_checkpoint.plugins.requirements import (
    NAME,
    RequirementError,
    is_capability,
    parse,
    wrong_specifier,
)

if TYPE_CHECKING:
    from typing import Any

LIMIT = 1 << 20
"""Bytes of a manifest."""
_KINDS_OF_VALUE = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    list: "an array",
    dict: "a table",
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The table ``[plugin.NAME]`` of one plugin."""

    summary: str = ""
    kernel_api: str = ""
    """A version specifier; empty where every kernel will do."""
    provides: tuple[str, ...] = ()
    """Capabilities, as ``kind:name``."""
    requires: tuple[str, ...] = ()
    """Plugins, perhaps with a version, or capabilities. So are the next three."""
    optional: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    hooks: tuple[str, ...] | None = None
    """The hooks that it implements; None where the manifest does not say."""
    config: str = ""
    """The name of its section; empty for its own name."""
    extra: str = ""
    """What its distribution calls the extra with the libraries that it imports."""


def read_manifests(path: Path) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Return the manifests in a file by plugin, and for each plugin whose table is wrong all that is wrong with it.

    Raises ``ManifestError`` where the file as a whole cannot be read: it is no file, too long, or no TOML, or what it
    holds stands outside the tables ``[plugin.NAME]``.
    """
    document = _document(path)
    tables = document.pop("plugin", {})
    if not isinstance(tables, dict):
        raise ManifestError(f"{path}: 'plugin' is {_kind(tables)}: write one table [plugin.NAME] for each entry point")
    outside = [key for key, value in tables.items() if not isinstance(value, dict) and key in _READERS]
    if outside:
        raise ManifestError(
            f"{path}: {', '.join(outside)} in [plugin]: write them into [plugin.NAME], a table for each"
        )
    good: dict[str, Manifest] = {}
    bad: dict[str, str] = {}
    for name, table in tables.items():
        manifest, problems = _manifest(table)
        if problems:
            bad[name] = f"{path}: [plugin.{name}] {'; '.join(problems)}"
        else:
            good[name] = manifest
    for key, value in document.items():
        if not isinstance(value, dict):
            raise ManifestError(f"{path}: {key!r} stands outside the tables: write it into one called [plugin.NAME]")
        inner = [name for name, table in value.items() if isinstance(table, dict)]
        for name, table in [(name, f"{key}.{name}") for name in inner] or [(key, key)]:
            good.pop(name, None)
            bad[name] = f"{path}: the table [{table}] is not known: write [plugin.{name}]"
    return good, bad


def _document(path: Path) -> dict[str, Any]:
    """Return the TOML of a file."""
    import tomllib

    from model_checkpoint.plugins.metadata import read_regular

    try:
        data = read_regular(path, LIMIT + 1)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > LIMIT:
        raise ManifestError(f"{path} is longer than {LIMIT} bytes, and no manifest is: the plugins in it are not used")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{path}: line {line} is not UTF-8: save the file as UTF-8") from error
    if number := line_of_deep_key(text):
        raise ManifestError(f"{path}: line {number} has a key of more than {DEEPEST_KEY} parts")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for an integer of many thousand digits
        raise ManifestError(f"{path} is no TOML: {error}") from error


def _manifest(table: object) -> tuple[Manifest, list[str]]:
    """Return what a table declares, and everything that is wrong with it."""
    if not isinstance(table, dict):
        return Manifest(), [f"is {_kind(table)}, not a table"]
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _READERS:
            problems.append(f"{key!r} is no key that is known{_nearest(key, _READERS)}")
            continue
        try:
            values[key.replace("-", "_")] = _READERS[key](value)
        except ManifestError as wrong:
            problems.append(f"{key}: {wrong}")
    return (Manifest(), problems) if problems else (Manifest(**values), [])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ManifestError(f"is {_kind(value)}, not a string")
    return value


def _name(value: object) -> str:
    text = _text(value)
    if not NAME.fullmatch(text):
        raise ManifestError(f"{text[:80]!r} is no name: use letters, digits, '-', '_' and '.'")
    return text


def _specifier(value: object) -> str:
    text = _text(value)
    if wrong := wrong_specifier(text):
        raise ManifestError(wrong)
    return text


def _each(check: Callable[[str], str]) -> Callable[[object], tuple[str, ...]]:
    """Return a reader of an array of strings; `check` says what is wrong with one of them."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ManifestError(f"is {_kind(value)}, not an array of strings")
        wrong = [
            check(item) if isinstance(item, str) else f"item {number} is {_kind(item)}, not a string"
            for number, item in enumerate(value, 1)
        ]
        if any(wrong):
            raise ManifestError("; ".join(filter(None, wrong)))
        return tuple(value)

    return read


def _wrong_requirement(text: str) -> str:
    try:
        wanted = parse(text)
    except RequirementError as error:
        return str(error)
    return _wrong_kind(text) if wanted.is_capability else ""


def _wrong_capability(text: str) -> str:
    if not is_capability(text):
        return f"{text[:80]!r} is no capability: write kind:name, such as storage:vault"
    return _wrong_kind(text)


def _wrong_kind(capability: str) -> str:
    from model_checkpoint.plugins.registry import KINDS

    kind = capability.partition(":")[0]
    return (
        "" if kind in KINDS.values() else f"{capability!r}: there is no kind {kind!r}{_nearest(kind, KINDS.values())}"
    )


def _wrong_hook(text: str) -> str:
    from model_checkpoint.hooks.specs import ANSWERS, EVENTS

    known = {*EVENTS, *ANSWERS}
    return "" if text in known else f"{text[:80]!r} is no hook{_nearest(text, known)}"


_READERS: dict[str, Callable[[object], object]] = {
    "summary": _text,
    "kernel-api": _specifier,
    "provides": _each(_wrong_capability),
    "requires": _each(_wrong_requirement),
    "optional": _each(_wrong_requirement),
    "after": _each(_wrong_requirement),
    "conflicts": _each(_wrong_requirement),
    "hooks": _each(_wrong_hook),
    "config": _name,
    "extra": _name,
}
"""Key of a table -> what reads its value, raising ``ManifestError`` with what is wrong."""


def _nearest(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    names = sorted(known)
    near = get_close_matches(name[:80], names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if len(names) <= len(_READERS) else ""


def _kind(value: object) -> str:
    return _KINDS_OF_VALUE.get(type(value), "a date or time")
