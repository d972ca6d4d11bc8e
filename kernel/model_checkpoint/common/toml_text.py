"""Looks over TOML before it is parsed."""

from __future__ import annotations

import re

DEEPEST_KEY = 32
"""Parts of a dotted key: the parser of the standard library takes time in the square of them."""
_STRINGS = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_BETWEEN = re.compile(r"[=,{}\[\]#]")


def line_of_deep_key(text: str) -> int | None:
    """Return the number of the first line with a key of too many parts, or None."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") >= DEEPEST_KEY:
            bare = _STRINGS.sub("", line)
            if any(part.count(".") >= DEEPEST_KEY for part in _BETWEEN.split(bare)):
                return number
    return None
