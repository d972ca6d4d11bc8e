"""The plugin ``cli``: the commands that ship with the engine. None of them is imported before it is called."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from model_checkpoint.contracts import CommandDescriptor
from model_checkpoint.hooks import hookimpl

if TYPE_CHECKING:
    import click

_COMMANDS = {
    "best": ("show:best", "show the best checkpoint of a run, or of all"),
    "completion": ("completion:completion", "print a script that lets your shell complete mce"),
    "config": ("config:config", "show, check and find the settings"),
    "demo": ("demo:demo", "train a small network that can be stopped and started again"),
    "diff": ("diff:diff", "compare two checkpoints"),
    "doctor": ("doctor:doctor", "check this environment: versions, disk, settings, plugins, store"),
    "export": ("exchange:export", "write the tensors of a checkpoint for other tools"),
    "hooks": ("hooks:hooks", "list hooks, and watch them in a script"),
    "import": ("exchange:import_", "save the tensors of another tool's file as a checkpoint"),
    "ls": ("ls:ls", "list checkpoints, all or those that a query finds"),
    "plugins": ("plugins:plugins", "list, inspect, check, enable and disable plugins"),
    "show": ("show:show", "show everything that is known of a checkpoint"),
    "store": ("store:store", "measure the store, and record anew what is in it"),
    "verify": ("verify:verify", "check stored bytes against their digests"),
}


@hookimpl
def register_commands(kernel: object) -> list[CommandDescriptor]:
    """Provide the built-in commands."""
    return [CommandDescriptor(name, partial(_create, where), summary) for name, (where, summary) in _COMMANDS.items()]


def _create(where: str) -> click.Command:
    module, _, attribute = where.partition(":")
    made: click.Command = getattr(import_module(f"model_checkpoint.cli.commands.{module}"), attribute)
    return made
