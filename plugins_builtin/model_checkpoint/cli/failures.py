"""What a command's exit status says, and how an error becomes one message.

::

    0    done, and nothing is wrong
    1    a problem was found: damage, a plugin that cannot be used, a setting that is wrong
    2    it was asked for in a way that cannot be: an option, a query, a setting
    3    there is no such checkpoint, run, plugin or store
    4    refused: by a hook's veto, because it exists already, is protected, or is in use
    5    it could not be done: a full disk, a locked database, a missing library, a plugin that fails
    70   an error that nobody foresaw: its traceback is shown
    130  interrupted from the keyboard
    141  whoever read the output has gone
"""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Any

import click

from model_checkpoint.cli.output import readable
from model_checkpoint.errors import (
    CheckpointEngineError,
    CheckpointExistsError,
    CheckpointNotFoundError,
    ConfigurationError,
    IntegrityError,
    MetricError,
    OperationVetoed,
    ProtectedCheckpointError,
    QuerySyntaxError,
    RecordStoreDamagedError,
    RunInUseError,
)


class Exit(IntEnum):
    """The exit statuses; the module's docstring explains them."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    FAILED = 5
    UNFORESEEN = 70
    INTERRUPTED = 130
    NO_READER = 141


_STATUS: tuple[tuple[type[CheckpointEngineError], Exit], ...] = (
    (CheckpointNotFoundError, Exit.NOT_FOUND),
    (CheckpointExistsError, Exit.REFUSED),
    (ProtectedCheckpointError, Exit.REFUSED),
    (OperationVetoed, Exit.REFUSED),
    (RunInUseError, Exit.REFUSED),
    (IntegrityError, Exit.PROBLEM),
    (RecordStoreDamagedError, Exit.PROBLEM),
    (ConfigurationError, Exit.USAGE),
    (QuerySyntaxError, Exit.USAGE),
    (MetricError, Exit.USAGE),
)


def status_of(error: CheckpointEngineError) -> Exit:
    """Return the exit status that stands for `error`."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), Exit.FAILED)


class Failure(click.ClickException):
    """One message on the standard error, and an exit status."""

    def __init__(self, message: str, status: Exit) -> None:
        super().__init__(readable(message, lines=True))
        vars(self)["exit_code"] = int(status)  # click declares it for the class alone

    @classmethod
    def of(cls, error: CheckpointEngineError) -> Failure:
        """Return what is shown of one of the engine's errors."""
        return cls(str(error) or type(error).__name__, status_of(error))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        click.echo(f"mce: {self.message}", file=file, err=True)
