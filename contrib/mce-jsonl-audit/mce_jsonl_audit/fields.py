"""What of an event goes into its line: plain values, of bounded length, with secrets masked. Never a tensor."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Set
from math import isfinite
from pathlib import PurePath
from typing import Any

from model_checkpoint.common.urls import masked

LIVE = frozenset({"model", "optimizer", "scheduler", "state"})
"""Fields that hold the running training. They are not even looked at."""
MAX_TEXT, MAX_ITEMS, MAX_DEPTH = 1000, 200, 6
LEFT_OUT: Any = object()
"""Stands for a value that is neither a scalar nor made of such."""
_SECRET = re.compile(
    r"(?i)pass(word|wd|phrase)?$|passw|pwd|secret|token|credential|cookie|authorization|(^|[^a-z])(key|auth)$"
    r"|(api|private|access)[^a-z]?key"
)
_URL = re.compile(r"\S*(?:://|[?&])\S*")


def fields_of(context: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the plain ones of these fields of a context."""
    found = {name: plain(context.get(name)) for name in names}
    return {name: value for name, value in found.items() if value is not LEFT_OUT}


def plain(value: object, depth: int = 0) -> Any:
    """Return `value` as JSON, or `LEFT_OUT` where it is nothing that JSON could hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else text(hex(value))
    if isinstance(value, float):
        return float(value) if isfinite(value) else str(float(value))
    if isinstance(value, str | PurePath):
        return text(str(value))
    if isinstance(value, BaseException):
        return text(f"{type(value).__name__}: {value}")
    if depth >= MAX_DEPTH:
        return LEFT_OUT
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    if isinstance(value, list | tuple | Set):
        return _items(value, depth)
    return LEFT_OUT


def text(value: str) -> str:
    """Return a text with its secrets masked, and its end cut off where it is long."""
    if "://" in value or "?" in value or "&" in value:
        value = _URL.sub(lambda found: masked(found[0]), value[: 4 * MAX_TEXT])
    return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}... ({len(value)} characters)"


def _mapping(value: Mapping[Any, object], depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, item in list(value.items())[:MAX_ITEMS]:
        name = text(str(key)) if isinstance(key, str | int | float | PurePath) else type(key).__name__
        hidden = item is not None and not isinstance(item, int | float) and _SECRET.search(name)
        kept = "***" if hidden else plain(item, depth + 1)
        if kept is not LEFT_OUT:
            made[name] = kept
    if len(value) > MAX_ITEMS:
        made["..."] = f"{len(value) - MAX_ITEMS} more"
    return made


def _items(value: Iterable[object], depth: int) -> list[Any]:
    items = list(value) if not isinstance(value, Set) else sorted(value, key=repr)
    made = [kept for item in items[:MAX_ITEMS] if (kept := plain(item, depth + 1)) is not LEFT_OUT]
    if len(items) > MAX_ITEMS:
        made.append(f"... {len(items) - MAX_ITEMS} more")
    return made
