"""The one way in which a query is refused: what was wrong, and a caret under it."""

from __future__ import annotations

import unicodedata

from model_checkpoint.errors import QuerySyntaxError

_SHOWN = 50
"""Characters of the query that are shown on either side of the fault."""


def fault(query: str, position: int, problem: str) -> QuerySyntaxError:
    """Return the error for `problem` at offset `position` of `query`."""
    position = min(max(position, 0), len(query))
    start = max(query.rfind("\n", 0, position) + 1, position - _SHOWN)
    end = query.find("\n", position)
    end = min(len(query) if end < 0 else end, position + _SHOWN)
    before, after = _printable(query[start:position]), _printable(query[position:end])
    return QuerySyntaxError(
        f"cannot read the query at position {position}: {problem}\n  {before}{after}\n  {' ' * len(before)}^", position
    )


def _printable(text: str) -> str:
    """Return `text` with every character that a terminal would act upon or not draw replaced, one for one."""
    return "".join("?" if unicodedata.category(one)[0] in "CZ" and one != " " else one for one in text)
