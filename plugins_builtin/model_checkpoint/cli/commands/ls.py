"""``mce ls``: the checkpoints of a store, the newest first or as a query asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from model_checkpoint.cli.options import command, place_options
from model_checkpoint.cli.output import age, number, print_json, print_table, say, size

if TYPE_CHECKING:
    from model_checkpoint.cli.place import Place
    from model_checkpoint.contracts import CheckpointRecord

_HEADINGS = ("id", "run", "step", "epoch", "metrics", "size", "age", "marks")
_METRICS_SHOWN = 4


@command(
    "ls",
    "mce ls",
    "mce ls \"metrics.val_loss < 0.2 and tags.stage = 'dev' order by step desc\"",
    "mce ls \"run = 'digits-7' and damage is not null\" --json",
)
@click.argument("query", required=False)
@click.option("-n", "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="How many; 0 for all.")
@place_options
def ls(query: str | None, limit: int, as_json: bool, place: Place) -> None:
    """List checkpoints of all runs, the newest first, or those that QUERY finds, in its order.

    \b
    QUERY compares id, run, experiment, step, epoch, nbytes, backend, damage,
    created_at, metrics.NAME, params.NAME and tags.NAME by = != < <= > >= in
    like is null and or not, and ends in an 'order by'.
    """
    with place.open() as kernel:
        wanted = limit + 1 if limit else None  # one more tells whether there are more
        records = kernel.query(query, limit=wanted) if query else kernel.records.list_checkpoints(limit=wanted)
    shown = records[:limit] if limit else records
    if as_json:
        print_json(shown)
    elif not shown:
        say("no checkpoint matches" if query else "no checkpoint was saved here yet")
    else:
        print_table(_HEADINGS, map(_row, shown), right=("step", "epoch", "size", "age"))
        if len(records) > len(shown):
            say(f"the first {limit} are shown; --limit 0 shows all")


def _row(record: CheckpointRecord) -> Sequence[object]:
    return (
        record.id,
        record.run_name,
        "" if record.step is None else record.step,
        "" if record.epoch is None else record.epoch,
        metrics_of(record),
        size(record.nbytes),
        age(record.created_at_s),
        ", ".join(marks_of(record)),
    )


def metrics_of(record: CheckpointRecord) -> str:
    """Return the first metrics of a checkpoint, with a star where it is its run's best by one."""
    known = [f"{name}={number(value)}{'*' * (name in record.best_for)}" for name, value in record.metrics.items()]
    rest = len(known) - _METRICS_SHOWN
    return " ".join(known[:_METRICS_SHOWN]) + (f" +{rest}" if rest > 0 else "")


def marks_of(record: CheckpointRecord) -> list[str]:
    """Return in words what is said of a checkpoint, damage first."""
    tags = [f"{name}={value}" if value else name for name, value in record.tags.items()]
    return [*["DAMAGED"] * bool(record.damage), *["pinned"] * record.pinned, *record.aliases, *tags]
