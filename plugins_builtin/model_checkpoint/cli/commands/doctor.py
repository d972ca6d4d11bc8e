"""``mce doctor``: whether this environment and its store are as a training needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from model_checkpoint.cli.checks import Verdict, examine
from model_checkpoint.cli.failures import Exit
from model_checkpoint.cli.options import command, place_options
from model_checkpoint.cli.output import print_json, print_table

if TYPE_CHECKING:
    from model_checkpoint.cli.place import Place


@command("doctor", "mce doctor", "mce doctor -C /data/training --json")
@place_options
@click.pass_context
def doctor(context: click.Context, as_json: bool, place: Place) -> None:
    """Check versions, disk, file system, settings, plugins, database and store; exit with 1 where there is a problem.

    Every plugin is imported. Nothing is created, and of stored tensors nothing
    is read.
    """
    findings = list(examine(place))
    if as_json:
        print_json(findings)
    else:
        print_table(("check", "", "found"), [(each.check, each.verdict, each.found) for each in findings])
    context.exit(Exit.PROBLEM if any(each.verdict is Verdict.PROBLEM for each in findings) else Exit.OK)
