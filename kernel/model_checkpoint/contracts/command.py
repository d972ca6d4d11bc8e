"""The contract of a command: one subcommand of ``mce``, made when it is first called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


@dataclass(frozen=True, slots=True)
class CommandDescriptor:
    """What ``register_commands`` returns for each command."""

    name: str
    """What it is called by, after ``mce``."""
    create: Callable[[], click.Command]
    """Import what the command needs, and return it: a ``click.Command``, or a ``click.Group`` with its own commands.

    Called when the command is, and not for ``mce --help``."""
    summary: str = ""
    """What it does, as ``mce --help`` shows it."""
