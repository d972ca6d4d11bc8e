"""Checks one value against the type of its setting. Text is made a value only where it comes from the environment.

pydantic does it, and is imported only for what is not of the very type already.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from model_checkpoint.config.keys import PLUGINS, Key, Setting, Settings, dotted, known, leaves, meant
from model_checkpoint.config.masks import shown

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class Unfit(ValueError):
    """Says what is wrong with a value, as a sentence goes on after it."""


def checked(found: Iterable[tuple[Key, Setting]], problems: list[str]) -> Settings:
    """Return the settings that are fit, as values of their types, and add a sentence to `problems` for every other."""
    fit: Settings = {}
    for key, each in found:
        if key[0] == PLUGINS:
            if len(key) < 3 and not (len(key) == 2 and isinstance(each.value, Mapping)):
                problems.append(
                    f"{each.label(key)}={shown(key, each.value)} is no section: settings of a plugin stand below"
                    f" [{dotted((PLUGINS, *(key[1:] or ('NAME',))))}]"
                )
            elif any(part.lower().startswith("dynaconf") for part in key[2:]):  # it would obey and drop it
                problems.append(f"{each.label(key)}: names that begin with 'dynaconf' are taken: choose another one")
            else:
                fit[key] = each
        elif key not in known():
            problems.append(f"{each.label(key)} {_unknown(key)}")
        else:
            try:
                fit[key] = Setting(_value(key, each), each.layer, each.where)
            except Unfit as error:
                problems.append(f"{each.label(key)}={shown(key, each.value)} {error}")
    return fit


def _unknown(key: Key) -> str:
    if key == ("environment",):
        return "cannot be set here: set MCE_ENV"
    sections = {each[0] for each in known() if len(each) > 1}
    if len(key) == 1 and key[0] in sections:
        return f"is a section: write its settings below [{key[0]}]"
    if key[:1] in known():
        return f"is not known: {key[0]} is a setting, no section"
    if key[-1:] in known():
        return f"is not known: {key[-1]!r} stands at the top of the file, above every section"
    return f"is not known{meant(key)}"


def _value(key: Key, each: Setting) -> object:
    declared = known()[key]
    value: Any = each.value
    if each.layer == "environment":
        value = from_text(declared.kind, value)
    if isinstance(value, str) and "\0" in value:
        raise Unfit("holds a NUL character, and no path or URL can")
    if declared.kind is Path:
        value = _path(value)
    elif isinstance(value, list):
        value = tuple(value)
    elif key == ("database", "url") and isinstance(value, Path):
        raise Unfit(f"is a path: write it as text, sqlite:///{value}")
    if declared.kind is not Path and type(value) is not declared.kind:
        value = _by_pydantic(declared.kind, value, strict=each.layer != "environment")
    if isinstance(value, float) and not 0 <= value <= 1e6:  # not NaN either
        raise Unfit("does not fit: give seconds from 0 to 1000000")
    if declared.choices and value not in declared.choices:
        raise Unfit(f"is not known: use {', '.join(map(repr, declared.choices))}")
    return value


def _path(value: object) -> object:
    if not isinstance(value, str | os.PathLike):
        raise Unfit("is no path: give a string or a pathlib.Path")
    if "://" in str(value):
        raise Unfit("is a URL; this version keeps checkpoints in local folders")
    return Path(value)


def _by_pydantic(kind: Any, value: object, *, strict: bool) -> object:
    if kind == tuple[str, ...] and type(value) is tuple and all(type(each) is str for each in value):
        return value
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value, strict=strict)
    except ValidationError as error:
        raise Unfit(f"does not fit: {'; '.join(describe(each) for each in error.errors())}") from None


def describe(error: Mapping[str, Any]) -> str:
    """Say what one error of pydantic says: where it is within the value, and what is wanted there."""
    message = str(error["msg"])
    within = ".".join(str(part) for part in error["loc"])
    return (f"{within}: " if within else "") + message[:1].lower() + message[1:]


def from_text(kind: object, text: str) -> object:
    """Return what the text of an environment variable stands for. Raises `Unfit`."""
    if kind is bool:
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise Unfit("is neither true nor false: use 1 or 0")
        return word in _TRUE
    return split(text) if kind == tuple[str, ...] else text


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a list, written as JSON or with commas. Raises `Unfit`."""
    if not text.lstrip().startswith("["):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for an integer of thousands of digits
        raise Unfit(f"begins like a list in JSON and is none: {error}") from None
    if not all(isinstance(part, str) for part in parts):
        raise Unfit('holds more than strings: write ["a", "b"], or a,b')
    return tuple(parts)


def settings_of(table: Mapping[str, object], layer: str, where: str) -> list[tuple[Key, Setting]]:
    """Return what a nested table sets, each with its place."""
    return [(key, Setting(value, layer, where)) for key, value in leaves(table)]
