"""The root of the tree, and the one way in which lists of names are offered to the reader."""

from __future__ import annotations

from collections.abc import Iterable


class CheckpointEngineError(Exception):
    """Anything the engine raises on purpose. Catch this to catch all of them."""


def bullet_list(lines: Iterable[str], *, limit: int = 20) -> str:
    """Return `lines` as an indented list of at most `limit` entries, saying how many more there are."""
    shown = list(lines)
    rest = len(shown) - limit
    text = "".join(f"\n  - {line}" for line in shown[:limit])
    return text + (f"\n  - ... and {rest} more" if rest > 0 else "")
