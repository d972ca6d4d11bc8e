"""``mce diff``: how one checkpoint differs from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from model_checkpoint.cli.options import command, place_options
from model_checkpoint.cli.output import as_json as json_text
from model_checkpoint.cli.output import number, print_json, say

if TYPE_CHECKING:
    from model_checkpoint.cli.place import Place

_ALWAYS = ("created_at_s", "sequence")
"""What differs between any two, and tells nobody anything."""


@command("diff", "mce diff best:val_loss latest", "mce diff digits-7-e0001 digits-7-e0002 --json")
@click.argument("first")
@click.argument("second")
@place_options
def diff(first: str, second: str, as_json: bool, place: Place) -> None:
    """Show how the checkpoint SECOND differs from FIRST: tensors, metrics, metadata."""
    with place.open() as kernel:
        report = kernel.diff(first, second)
    if as_json:
        print_json(report)
        return
    for sign, names in (("-", report.removed), ("+", report.added), ("~", report.changed)):
        for name in names:
            say(f"{sign} {name}")
    for name, (one, other) in report.metrics.items():
        say(f"  metrics.{name}: {_value(one)} -> {_value(other)}")
    for name, pair in report.metadata.items():
        if name in report.metrics or name in _ALWAYS:
            continue
        say(f"  {name}: {json_text(pair[0], indent=None)} -> {json_text(pair[1], indent=None)}")
    say(
        f"{len(report.changed)} tensors differ, {len(report.added)} are new, {len(report.removed)} are gone,"
        f" {len(report.same)} are the same"
    )


def _value(value: float | None) -> str:
    return "none" if value is None else number(value)
