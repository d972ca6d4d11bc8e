"""Captures and restores every global random stream: Python's own, and those of the frameworks in use."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

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


def restore_rng(adapters: Adapters, streams: Mapping[str, object]) -> None:
    """Put the streams back where they were when they were captured.

    Raises ``StateDecodeError`` where a stored stream is none that this process has.
    """
    for name, state in streams.items():
        if name == PYTHON:
            _restore_python(state)
            continue
        adapter = adapters.named(name)
        if adapter is not None:
            adapter.restore_rng(state)


def _restore_python(state: object) -> None:
    try:
        random.setstate(state)  # type: ignore[arg-type]  # it checks every part by itself
    except (TypeError, ValueError, OverflowError) as error:
        raise StateDecodeError(f"the stored random stream of Python cannot be used: {error}") from error
