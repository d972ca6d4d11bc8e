"""What is said of a checkpoint after it was saved: pins, tags, notes, aliases, damage.

A checkpoint itself never changes. A mark is a small record beside it, and the last one of its kind and name holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

MARK_KINDS = ("pin", "tag", "note", "alias", "damage")


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing said of one checkpoint."""

    checkpoint_id: str
    kind: str
    """One of `MARK_KINDS`."""
    name: str = ""
    """Of a tag or an alias; empty for the others, of which there is one."""
    value: str | None = ""
    """A tag's value, a note's or damage's text. None takes back what was said."""
    time_s: float = 0.0


class MarkKeeper(Protocol):
    """What a storage backend with ``capabilities.keeps_marks`` does besides: who loses the records has them there."""

    def add_mark(self, mark: Mark) -> None:
        """Keep a mark durably. Raises ``CheckpointNotFoundError``, ``StorageError``."""

    def marks(self) -> Iterator[Mark]:
        """Yield all marks of stored checkpoints, the oldest first. Raises ``StorageError``."""
