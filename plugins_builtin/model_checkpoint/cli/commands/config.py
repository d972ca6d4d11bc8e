"""``mce config``: what the settings are, where each comes from, and whether a file of them is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model_checkpoint.cli import notices
from model_checkpoint.cli.completing import settings
from model_checkpoint.cli.failures import Exit
from model_checkpoint.cli.in_force import problems_of, sections, unmet
from model_checkpoint.cli.options import command, group, place_options
from model_checkpoint.cli.output import print_json, print_table, say
from model_checkpoint.errors import ConfigurationError
from model_checkpoint.kernel import show_config

if TYPE_CHECKING:
    from model_checkpoint.cli.place import Place


@command(
    "show",
    "mce config show",
    "mce config show storage",
    "mce config show -C /data/training --json",
    short_help="Show the settings in force, and where each comes from.",
)
@click.argument("prefix", default="", shell_complete=settings)
@place_options
def show(prefix: str, as_json: bool, place: Place) -> None:
    """Show the settings in force, or those that begin with PREFIX.

    Each with its layer, the file or variable that it comes from, and when a
    change of it applies. Secrets are masked.
    """
    with place.prepare() as kernel:
        rows, warnings = show_config(kernel), kernel.settings.loaded.warnings
    rows = [row for row in rows if row[0].startswith(prefix)]
    if as_json:
        names = ("key", "shown", "layer", "where", "applies")
        print_json({"settings": [dict(zip(names, row, strict=True)) for row in rows], "warnings": warnings})
        return
    print_table(("setting", "value", "layer", "where", "a change applies"), rows)
    for warning in warnings:
        say(f"warning: {warning}", err=True)


@command(
    "check",
    "mce config check",
    "mce config check mce.toml ~/.config/model-checkpoint-engine/mce.toml",
    short_help="Check files of settings, or those in force.",
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@place_options
@click.pass_context
def check(context: click.Context, files: tuple[Path, ...], as_json: bool, place: Place) -> None:
    """Check each of FILES as the project's settings, or the settings in force; exit with 1 where one is wrong.

    Installed plugins are imported, for each says itself what its section may
    hold.
    """
    results = [(file, *_checked(file, place)) for file in files or (None,)]
    if as_json:
        names = ("file", "problems", "warnings")
        print_json([{**dict(zip(names, each, strict=True)), "ok": not each[1]} for each in results])
    else:
        for file, problems, warnings in results:
            name = file or "the settings in force"
            for problem in problems or ["right"]:
                say(f"{name}: {problem}")
            for warning in warnings:
                say(f"{name}: warning: {warning}")
    context.exit(Exit.PROBLEM if any(problems for _, problems, _ in results) else Exit.OK)


def _checked(file: Path | None, place: Place) -> tuple[Sequence[str], Sequence[str]]:
    """Return what is wrong with the settings, and what is odd about them."""
    if file is not None and not file.is_file():
        return ["there is no such file"], []
    try:
        with (
            notices.held_back(),
            place.prepare(**({"config_file": file} if file is not None else {})) as kernel,
        ):
            wrong, unchecked = sections(kernel)
            return [*wrong, *unmet(kernel)], [*kernel.settings.loaded.warnings, *unchecked]
    except ConfigurationError as error:
        return problems_of(error), []


@command("path", "mce config path", "mce config path --json", short_help="Print the files of settings that are read.")
@place_options
def path(as_json: bool, place: Place) -> None:
    """Print the files that the settings were read from, the weakest first."""
    with place.prepare() as kernel:
        files = tuple(kernel.settings.loaded.files)
    if as_json:
        print_json(files)
    elif not files:
        say("no file of settings was found: defaults, MCE_* variables and arguments hold", err=True)
    for file in () if as_json else files:
        say(file)


config = group(
    "config",
    "Show, check and find the settings.",
    [show, check, path],
    "mce config show",
    "mce config check mce.toml",
)
