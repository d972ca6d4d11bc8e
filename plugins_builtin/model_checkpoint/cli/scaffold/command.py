"""The command ``new``: begins a plugin."""

from __future__ import annotations

from pathlib import Path

import click

from model_checkpoint.cli.scaffold.kinds import KINDS
from model_checkpoint.cli.scaffold.taken import taken
from model_checkpoint.cli.scaffold.writing import checked_name, rendered, write
from model_checkpoint.errors import StorageError


@click.command(
    "new",
    short_help="Begin a plugin that works, with its tests.",
    epilog="\b\nExamples:\n  mce plugins new my-store --kind storage\n"
    + "  mce plugins new best-log --kind hook --into ~/plugins\n\n\b\nKinds:\n"
    + "\n".join(f"  {kind:<14}{about.summary.lower()}" for kind, about in KINDS.items()),
)
@click.argument("name")
@click.option("--kind", type=click.Choice([*KINDS]), required=True, help="What the plugin is to provide.")
@click.option(
    "--into",
    "folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to put it into; this one unless told.",
)
@click.option("--force", is_flag=True, help="Replace files of the same names in a folder that exists already.")
def new(name: str, kind: str, folder: Path, force: bool) -> None:
    """Begin the plugin NAME: a small distribution that works, with its tests."""
    plugin = checked_name(name)
    target = folder / f"mce-{plugin}"
    files = rendered(plugin, kind)
    told = taken(plugin, files)
    try:
        write(files, target, force=force)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}. Nothing of it was left") from error
    if told:
        click.echo(f"mce: {told}", err=True)
    steps = ["pip install -e '.[dev]'", "pytest", "mce plugins check ."]
    click.echo("\n  ".join([f"{target}: {len(files)} files. It works as it is:", f"cd {target}", *steps]))
