"""What commands print: tables and lines for people, JSON for programs, and nothing that a terminal would act on."""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from os import PathLike, fspath
from typing import IO

import click

from model_checkpoint.common.clock import now_s

_GAP = 2
"""Columns between two cells of a table."""
_NARROWEST = 24
"""A column that is cut into lines must be this wide, or nobody can read it."""


def readable(value: object, *, lines: bool = False) -> str:
    r"""Return text in which every character that a terminal would act on is written as an escape.

    With `lines`, line breaks stay.

    >>> readable("run\x1b[2J\u202e")
    'run\\x1b[2J\\u202e'
    """
    text = str(value)
    if lines:
        return "\n".join(map(readable, text.split("\n")))
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def say(text: object = "", *, err: bool = False) -> None:
    """Print one line, or several that the program itself wrote."""
    click.echo(readable(text, lines=True), err=err)


def print_json(value: object) -> None:
    """Print a value as JSON in ASCII."""
    click.echo(as_json(value))


def as_json(value: object, *, indent: int | None = 2) -> str:
    """Return JSON in ASCII. What is no finite number is a word, as in stored metadata: ``"NaN"``, ``"Infinity"``."""
    return json.dumps(plain(value), indent=indent, allow_nan=False).replace("\x7f", "\\u007f")


def plain(value: object) -> object:
    """Return a value as what JSON has: dataclasses and mappings as objects, paths and all else as text."""
    if value is None or (isinstance(value, bool | int) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _word(value)
    if isinstance(value, Enum):
        return plain(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return fspath(value) if isinstance(value, PathLike) else str(value)


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Collection[str] = (),
    file: IO[str] | None = None,
) -> None:
    """Print rows under headings: aligned columns, on a terminal a table, and where it is too narrow for one, blocks.

    `right` names columns of numbers.
    """
    cells = [[readable(cell) for cell in row] for row in rows]
    out = file or sys.stdout
    if out.isatty():
        _print_rich(headings, cells, right, out)
        return
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in (headings, *cells):
        columns = zip(headings, row, widths, strict=True)
        aligned = [cell.rjust(width) if name in right else cell.ljust(width) for name, cell, width in columns]
        click.echo("  ".join(aligned).rstrip(), file=out)


def _print_rich(headings: Sequence[str], cells: list[list[str]], right: Collection[str], out: IO[str]) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, file=out)
    columns = [(name, *own) for name, *own in zip(headings, *cells, strict=True)]
    for shown in (columns, [each for each in columns if any(each[1:])]):  # else without those that are empty
        widths = [max(map(cell_len, each)) for each in shown]
        left = console.width - _GAP * (len(widths) - 1) - sum(widths) + max(widths)
        if left >= min(max(widths), _NARROWEST):
            break
    else:
        _print_blocks(headings, cells, console.width, out)
        return
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for (name, *_), width in zip(shown, widths, strict=True):
        widest = width == max(widths)
        table.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=not widest)
    for row in zip(*(own for _, *own in shown), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)


def _print_blocks(headings: Sequence[str], cells: list[list[str]], width: int, out: IO[str]) -> None:
    """Print each row as a few lines: its first cell, and below it what else there is, by its heading."""
    indent = max(map(len, headings[1:]), default=0) + 4
    for first, *others in cells:
        named = list(zip(headings[1:], others, strict=True))
        click.echo("  ".join([first, *(cell for name, cell in named if cell and not name)]), file=out)
        for name, cell in named:
            wrapped = textwrap.wrap(cell if name else "", max(width - indent, _NARROWEST // 2), break_on_hyphens=False)
            for line, text in enumerate(wrapped):
                click.echo(f"  {'' if line else name:<{indent - 2}}{text}", file=out)


def print_fields(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line."""
    listed = [(readable(name), readable(value)) for name, value in rows]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        click.echo(f"{name:<{width}}  {value}".rstrip())


def size(nbytes: float) -> str:
    """Return a number of bytes as people read it.

    >>> size(999), size(1_234_567)
    ('999 B', '1.2 MB')
    """
    unit, *larger = "B", "kB", "MB", "GB", "TB"
    while nbytes >= 1000 and larger:
        nbytes, unit = nbytes / 1000, larger.pop(0)
    return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"


def age(created_at_s: float) -> str:
    """Return how long ago it was, in the largest unit that gives a whole number."""
    passed_s = max(now_s() - created_at_s, 0)
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if passed_s >= length_s:
            return f"{passed_s / length_s:.0f} {unit}"
    return f"{passed_s:.0f} s"


def moment(at_s: float) -> str:
    """Return a time as people read it, in this machine's zone."""
    try:
        return datetime.fromtimestamp(at_s, UTC).astimezone().isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):  # a clock that was years off
        return f"{at_s:g} s"


def number(value: object) -> str:
    """Return a metric's value as people read it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
