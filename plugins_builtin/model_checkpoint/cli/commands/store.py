"""``mce store``: how much is stored, and how lost records are written anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from model_checkpoint.cli.failures import Exit
from model_checkpoint.cli.options import command, group, place_options
from model_checkpoint.cli.output import print_fields, print_json, print_table, say, size

if TYPE_CHECKING:
    from model_checkpoint.cli.place import Place


@command(
    "info",
    "mce store info",
    "mce store info -C /data/training --json",
    short_help="Show what each storage backend holds.",
)
@place_options
def info(as_json: bool, place: Place) -> None:
    """Show what each storage backend holds, and what it takes on disk."""
    with place.open() as kernel:
        held, where = kernel.store_info(), kernel.config
        unconfirmed = kernel.awaits_confirmation
    database, folder = where.database.shown, where.storage.checkpoint_dir
    if as_json:
        backends = [
            {
                "backend": each.backend,
                "checkpoints": each.checkpoints,
                "nbytes": each.nbytes,
                "nbytes_on_disk": each.nbytes_on_disk,
                "dedup_ratio": each.dedup_ratio,
            }
            for each in held
        ]
        print_json(
            {
                "database": database,
                "checkpoint_dir": folder,
                "awaits_confirmation": unconfirmed,
                "backends": backends,
            }
        )
        return
    print_fields([("records", database), ("checkpoints", folder)])
    print_table(
        ("backend", "checkpoints", "size", "on disk", "ratio"),
        [
            (each.backend, each.checkpoints, size(each.nbytes), size(each.nbytes_on_disk), f"{each.dedup_ratio:.1f} x")
            for each in held
        ],
        right=("checkpoints", "size", "on disk", "ratio"),
    )
    if unconfirmed:
        say("records were rebuilt: look at them, then say 'mce store rebuild --confirm'")


@command(
    "rebuild",
    "mce store rebuild",
    "mce store rebuild --confirm",
    short_help="Record anew what is stored and not recorded.",
)
@click.option("--confirm", is_flag=True, help="Say that the records are what they should be: policies may drop again.")
@place_options
@click.pass_context
def rebuild(context: click.Context, confirm: bool, as_json: bool, place: Place) -> None:
    """Record every stored checkpoint that is not recorded, with its run, metrics and marks.

    For who has lost the database; it is created where only the checkpoints are left.
    """
    with place.open(needs_database=False) as kernel:
        report = kernel.rebuild()
        if confirm:
            kernel.confirm_rebuild()
        waits = kernel.awaits_confirmation
    if as_json:
        print_json(
            {
                "recorded": report.recorded,
                "known": report.known,
                "unreadable": report.unreadable,
                "awaits_confirmation": waits,
            }
        )
    else:
        for checkpoint_id, why in report.unreadable.items():
            say(f"{checkpoint_id}: cannot be recorded: {why}")
        say(f"{len(report.recorded)} checkpoints were recorded anew, {report.known} were recorded already")
        if waits:
            say("until 'mce store rebuild --confirm', no policy drops a checkpoint")
    context.exit(Exit.PROBLEM if report.unreadable else Exit.OK)


store = group(
    "store",
    "Measure the store, and record anew what is in it.",
    [info, rebuild],
    "mce store info",
    "mce store rebuild",
)
