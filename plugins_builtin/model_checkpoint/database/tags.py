"""Tags of experiments, runs and checkpoints: three tables of one shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection, Table, delete, insert, select

CHUNK = 500
"""Keys per ``IN (...)``: far below every database's limit of bound values."""


def chunks(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield `keys` in pieces that fit one statement."""
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


def merge_tags(connection: Connection, table: Table, owner: int, tags: Mapping[str, str]) -> None:
    """Write `tags` over those that `owner` has; others stay."""
    if not tags:
        return
    column = table.columns[0]
    connection.execute(delete(table).where(column == owner, table.c.name.in_(list(tags))))
    add_tags(connection, table, owner, tags)


def add_tags(connection: Connection, table: Table, owner: int, tags: Mapping[str, str]) -> None:
    """Write `tags` of an `owner` that has none yet."""
    if tags:
        name = table.columns[0].name
        rows = [{name: owner, "name": tag, "value": value} for tag, value in tags.items()]
        connection.execute(insert(table), rows)


def tags_of(connection: Connection, table: Table, owners: Iterable[int]) -> dict[int, dict[str, str]]:
    """Return the tags of each owner."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    column = table.columns[0]
    for piece in chunks(list(owners)):
        for owner, name, value in connection.execute(
            select(column, table.c.name, table.c.value).where(column.in_(piece))
        ):
            found[owner][name] = value
    return found
