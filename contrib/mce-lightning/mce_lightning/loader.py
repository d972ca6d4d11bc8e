"""`LightningLoader`: a ``ResumableLoader`` for Lightning's loop, which stops after the last batch of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from model_checkpoint.frameworks.torch_data import ResumableLoader


class LightningLoader(ResumableLoader):
    """Give it to ``trainer.fit`` as the training loader, and a fit resumes in the middle of an epoch, bit for bit.

    Takes what ``ResumableLoader`` does. That one takes an epoch for over when its loop ends by itself; Lightning counts
    the batches and asks for no more, and would find every second epoch empty. ``limit_train_batches`` has it go on in
    the same epoch each time.
    """

    def __iter__(self) -> Iterator[Any]:
        """Begin a loop over the batches that remain of this epoch, or over the next one where none remain."""
        if self.position >= len(self) > 0:
            self.load_state_dict({**self.state_dict(), "epoch": self.epoch + 1, "position": 0})
        return super().__iter__()
