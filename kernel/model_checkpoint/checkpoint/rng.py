"""Captures and restores every global random stream: Python's own, and those of the frameworks in use."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model_checkpoint.errors import StateDecodeError

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.services import Adapters

PYTHON = "python"


def capture_rng(adapters: Adapters) -> dict[str, object]:
    """Return the state of all global random streams, drawing from none of them."""
    streams: dict[str, object] = {PYTHON: random.getstate()}
    for name, adapter in adapters.loaded().items():
        state = adapter.capture_rng()
        if state is not None:
            streams[name] = state
    return streams


def check_rng(adapters: Adapters, streams: Mapping[str, object]) -> None:
    """Raise ``StateDecodeError`` where `restore_rng` would, and change nothing."""
    for name, state in streams.items():
        adapter = adapters.named(name)
        if name == PYTHON:
            _set_python(random.Random(), state)
        elif adapter is not None:
            adapter.check_rng(state)


def restore_rng(adapters: Adapters, streams: Mapping[str, object]) -> None:
    """Put the streams back where they were when they were captured.

    Raises ``StateDecodeError`` where a stored stream is none that this process has.
    """
    for name, state in streams.items():
        if name == PYTHON:
            _set_python(random, state)
            continue
        adapter = adapters.named(name)
        if adapter is not None:
            adapter.restore_rng(state)


def _set_python(stream: Any, state: object) -> None:
    try:
        stream.setstate(state)  # it checks every part by itself
    except (TypeError, ValueError, OverflowError) as error:
        raise StateDecodeError(f"the stored random stream of Python cannot be used: {error}") from error
