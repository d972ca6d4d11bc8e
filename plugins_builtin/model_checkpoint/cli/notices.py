"""Prints what the engine logs as a warning: once, in one line, however often a command opens a kernel."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from model_checkpoint.cli.output import say

_LOGGER = logging.getLogger("model_checkpoint")


class Notices(logging.Handler):
    """A log handler on the standard error that repeats nothing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, unless the same was printed before."""
        try:
            message = record.getMessage()
        except Exception:  # an argument whose text cannot be had
            message = str(record.msg)
        if message not in self._told:
            self._told.add(message)
            say(f"mce: warning: {message}", err=True)


def begin() -> None:
    """Print warnings in this way from now on."""
    end()
    _LOGGER.addHandler(Notices())


def end() -> None:
    """Leave warnings to whoever else listens, such as a script that is run."""
    for handler in [each for each in _LOGGER.handlers if isinstance(each, Notices)]:
        _LOGGER.removeHandler(handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Print nothing of what is logged meanwhile: for who says the same himself, or must say nothing."""
    level = _LOGGER.level
    _LOGGER.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        _LOGGER.setLevel(level)
