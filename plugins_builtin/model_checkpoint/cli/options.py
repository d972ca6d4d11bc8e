"""What commands have in common: examples in the help, ``--json``, ``--debug``, and where to look."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

import click

from model_checkpoint.cli.place import Place

Function = Callable[..., object]
DEBUG = "model_checkpoint.debug"
"""The entry of a context's ``meta`` that says whether ``--debug`` was given anywhere."""
DIRECTORY = "model_checkpoint.directory"
"""The entry that says where ``-C`` leads."""


def command(name: str, *examples: str, **settings: Any) -> Callable[[Function], click.Command]:
    """Make a function a command with ``--json`` (given as `as_json`), ``--debug``, and examples in its help."""

    def make(function: Function) -> click.Command:
        made = click.command(name, cls=click.Command, epilog=epilog(examples), **settings)(function)
        made.params += [click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."), debug_option()]
        return made

    return make


def group(name: str, summary: str, commands: Iterable[click.Command], *examples: str) -> click.Group:
    """Return a command that has commands of its own."""
    return click.Group(name, {each.name or "": each for each in commands}, help=summary, epilog=epilog(examples))


def epilog(examples: Iterable[str]) -> str:
    """Return what stands below a command's options in its help."""
    return "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)])


def debug_option() -> click.Option:
    """Return ``--debug``, which shows the traceback of an error."""

    def note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        context.meta[DEBUG] = value or context.meta.get(DEBUG, False)

    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=note, help="Show the traceback of an error."
    )


def place_options(function: Function) -> Function:
    """Add ``--database``, ``--checkpoint-dir`` and ``-C``, and give them as `place`."""

    @click.option("--database", metavar="URL", help="Where the records are, such as sqlite:///experiments.db.")
    @click.option("--checkpoint-dir", metavar="DIR", help="Where the checkpoints are.")
    @directory_option
    @functools.wraps(function)
    def call(*args: object, database: str | None, checkpoint_dir: str | None, **given: object) -> object:
        return function(*args, place=Place(database, checkpoint_dir), **given)

    return call


def directory_option(function: Function) -> Function:
    """Add ``-C DIR``: do as if it were called there."""

    def change(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta[DIRECTORY] = value
            context.call_on_close(functools.partial(os.chdir, os.getcwd()))
            os.chdir(value)

    return click.option(
        "-C",
        "directory",
        metavar="DIR",
        type=click.Path(exists=True, file_okay=False),
        expose_value=False,
        is_eager=True,
        callback=change,
        help="Do as if mce were called in DIR.",
    )(function)
