"""Values fit to be shown: no password, no token, whatever key it stands under."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from model_checkpoint.common.secrets import MASK, Secret, is_reference
from model_checkpoint.common.urls import masked
from model_checkpoint.config.keys import Key

_SECRET = re.compile(r"(?i)pass(?!es)|pwd|secret|token|credential|(^|[_-])key$|api_?key|access_?key|private_?key")


def presentable(key: Key, value: object) -> object:
    """Return `value` with whatever is secret in it masked; a reference such as ``env:NAME`` is none."""
    if isinstance(value, Mapping):
        return {name: presentable((*key, name), each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [presentable(key, each) for each in value]
    if isinstance(value, Secret):
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    if any(_SECRET.search(part) for part in key):
        return value if isinstance(value, str) and is_reference(value) else MASK
    return masked(value) if isinstance(value, str) else value


def as_text(key: Key, value: object, write: Callable[[object], str]) -> str:
    """Return what `write` makes of `value` once it is masked."""
    try:
        return write(presentable(key, value))
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return f"a {type(value).__name__} too large to be shown"


def shown(key: Key, value: object) -> str:
    """Return `value` masked and as Python writes it, cut off where it is long."""
    text = as_text(key, value, repr)
    return text if len(text) <= 200 else f"{text[:197]}..."
