"""``mce show`` and ``mce best``: everything that is known of one checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from model_checkpoint.cli.completing import checkpoints, metrics, runs
from model_checkpoint.cli.options import command, place_options
from model_checkpoint.cli.output import as_json as json_text
from model_checkpoint.cli.output import moment, number, print_fields, print_json, say, size
from model_checkpoint.errors import CheckpointNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_checkpoint.cli.place import Place
    from model_checkpoint.contracts import CheckpointRecord
    from model_checkpoint.kernel import Kernel


@command("show", "mce show latest", "mce show best:val_loss --json", "mce show digits-7-e0004-s000350-3f")
@click.argument("which", shell_complete=checkpoints)
@place_options
def show(which: str, as_json: bool, place: Place) -> None:
    """Show everything that is known of the checkpoint WHICH: an id, an alias, 'latest', 'best:METRIC' or 'tag:TAG'."""
    with place.open() as kernel:
        record = kernel.checkpoint(which)
    if as_json:
        print_json(record)
    else:
        print_fields(_fields(record))


@command(
    "best", "mce best", "mce best --metric val_accuracy --all-runs", "mce best --metric zeta --mode max --run digits-7"
)
@click.option("--metric", default="val_loss", show_default=True, help="What to rank by.", shell_complete=metrics)
@click.option("--mode", type=click.Choice(["min", "max"]), help="Which is better; read from the name unless told.")
@click.option("--run", "run_name", metavar="RUN", help="Of which run; the newest one unless told.", shell_complete=runs)
@click.option("--all-runs", is_flag=True, help="Of all runs together.")
@place_options
def best(metric: str, mode: str | None, run_name: str | None, all_runs: bool, as_json: bool, place: Place) -> None:
    """Show the best checkpoint that is not damaged, of one run or of all."""
    if all_runs and run_name is not None:
        raise click.UsageError("--run and --all-runs say two things: give one of them")
    with place.open() as kernel:
        scope = "all runs"
        if not all_runs:
            name = run_name if run_name is not None else _newest_run(kernel)
            if kernel.records.get_run(name) is None:
                raise CheckpointNotFoundError(f"there is no run {name!r}: 'mce ls' shows the names of runs")
            kernel.plan_run(run=name)
            scope = f"run {name}"
        record = kernel.best(metric, mode, all_runs=all_runs)
    if record is None:
        raise CheckpointNotFoundError(f"no checkpoint of {scope} has a finite {metric!r}")
    if as_json:
        print_json(record)
    else:
        say(f"best by {metric} of {scope}:")
        print_fields(_fields(record))


def _newest_run(kernel: Kernel) -> str:
    runs = kernel.records.list_runs(limit=1)
    if not runs:
        raise CheckpointNotFoundError("no run was recorded here yet")
    return runs[0].name


def _fields(record: CheckpointRecord) -> Iterator[tuple[str, object]]:
    yield "id", record.id
    yield "run", f"{record.run_name}, checkpoint {record.sequence} of it"
    yield "saved", f"{moment(record.created_at_s)}, in {record.duration_s:.3f} s"
    for name, value in (("epoch", record.epoch), ("step", record.step), ("parent", record.parent_id)):
        if value is not None:
            yield name, value
    yield "size", f"{size(record.nbytes)} ({size(record.nbytes_written)} written)"
    yield "stored", f"{record.backend}, SHA-256 {record.digest}"
    yield "state", f"DAMAGED: {record.damage}" if record.damage else "no damage is known"
    for name, measured in record.metrics.items():
        yield f"metrics.{name}", number(measured) + ("  (best)" if name in record.best_for else "")
    for name, tag in record.tags.items():
        yield f"tags.{name}", tag or "yes"
    if record.pinned:
        yield "pinned", "yes"
    if record.aliases:
        yield "aliases", ", ".join(record.aliases)
    if record.note:
        yield "note", record.note
    for name, told in record.metadata.items():
        yield f"metadata.{name}", told if isinstance(told, str) else json_text(told, indent=None)
