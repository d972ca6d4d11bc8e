"""Makes one batch, in the training's own process or in a worker of torch's DataLoader.

::

    (seed, epoch, rank, number) -> Batch(indices, seed) -> queue -> worker: seed torch, numpy, random; fetch; collate
"""

from __future__ import annotations

import random
import sys
from typing import Any

import torch
from torch.utils.data import get_worker_info

from model_checkpoint.common.digest import sha256_hex


class Batch(list[int]):
    """The indices of one batch, and the seed for whatever is drawn while it is made."""

    def __init__(self, indices: list[int], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed


class Fetcher:
    """The dataset as workers see it: each batch seeds them first."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, batch: Batch) -> list[Any]:
        if get_worker_info() is not None:
            _seed_everything(batch.seed)
        several = getattr(self.dataset, "__getitems__", None)
        indices = list(batch)
        return several(indices) if callable(several) else [self.dataset[index] for index in indices]


def derived_seed(*numbers: int) -> int:
    """Return a seed of 63 bits that depends on all of `numbers`."""
    return int(sha256_hex(repr(numbers).encode())[:16], 16) >> 1


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)
