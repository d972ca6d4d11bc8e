"""What follows the colon: ``val_loss,min,delta=0.1``, with names in "quotes" where they hold what means something."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches

from model_checkpoint.errors import ConfigurationError

_PIECE = re.compile(r'((?:"(?:[^"]|"")*"|[^,"])*)(,|$)')
_NAMED = re.compile(r"([a-z]+)=(.*)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9_./@+-]+")


def split(argument: str, names: Collection[str] = ()) -> tuple[list[str], dict[str, str]]:
    """Return the values without a name, and those with one of `names`. Raises ``ConfigurationError``."""
    values: list[str] = []
    named: dict[str, str] = {}
    for piece in pieces(argument) if argument else ():
        found = _NAMED.fullmatch(piece)
        if found is None:
            values.append(unquoted(piece))
        elif found[1] not in names or found[1] in named:
            raise ConfigurationError(_wrong_name(found[1], names))
        else:
            named[found[1]] = unquoted(found[2])
    return values, named


def nothing(argument: str, kind: str) -> None:
    """Raise ``ConfigurationError`` where there is an argument."""
    if argument:
        raise ConfigurationError(f"{kind} takes nothing after a colon, and {argument!r} is there")


def quoted(name: str) -> str:
    """Return a name as it can stand in an argument."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def unquoted(piece: str) -> str:
    """Return what a piece means: without its quotes, and without blanks around it."""
    piece = piece.strip()
    return piece[1:-1].replace('""', '"') if len(piece) > 1 and piece[0] == piece[-1] == '"' else piece


def pieces(argument: str) -> list[str]:
    """Return what stands between the commas, as it is written. Raises ``ConfigurationError``."""
    found, position, comma = [], 0, ","
    while comma:
        match = _PIECE.match(argument, position)
        if match is None:
            raise ConfigurationError(f"{argument!r} has a quote that is never closed")
        piece, comma = match.groups()
        if not piece.strip():
            raise ConfigurationError(f"{argument!r} has nothing where something is expected")
        found.append(piece.strip())
        position = match.end()
    return found


def _wrong_name(name: str, names: Collection[str]) -> str:
    if name in names:
        return f"{name}= is there twice"
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}=?" if near else f"there is {' and '.join(f'{each}=' for each in names) or 'none'}"
    return f"{name}= means nothing here; {hint}"
