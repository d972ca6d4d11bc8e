"""The second plugin of this package: the command ``mce audit``, which wakes nothing that records.

A plugin that provides something waits until it is asked for, and one that records must not wait; so there are two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_checkpoint.contracts import CommandDescriptor
from model_checkpoint.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def register_commands(kernel: object) -> list[CommandDescriptor]:
    """Provide ``mce audit``."""
    return [CommandDescriptor("audit", _create, "verify the audit trail, or print an anchor of it")]


def _create() -> click.Command:
    from mce_jsonl_audit.command import audit

    return audit
