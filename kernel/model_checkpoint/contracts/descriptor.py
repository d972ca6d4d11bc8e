"""What every kind of thing that a plugin provides has in common."""

from __future__ import annotations

from typing import Protocol


class Descriptor(Protocol):
    """One thing that a plugin provides. Kinds that have a contract of their own have a descriptor of their own."""

    @property
    def name(self) -> str:
        """What it is asked for by; a name belongs to one plugin."""
