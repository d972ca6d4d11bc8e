"""The processes of one distributed training, as far as hooks need them."""

from __future__ import annotations

from typing import Protocol


class RankGroup(Protocol):
    """All processes of a training. Each of them makes its kernel with a group of its own making."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def world_size(self) -> int:
        """How many processes there are."""

    def broadcast(self, data: bytes | None) -> bytes:
        """Return what rank 0 gave; the others give None. Every rank must call it, as often and in the same order."""
