"""States to save: many tensors of mixed sizes, fp32 and bf16, each with bytes of its own."""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from model_checkpoint.contracts import Buffer, CheckpointPayload

GROUP = (12, 3, 1, 0.02)
"""How the four tensors of a layer share its bytes: two large matrices, a small one, a vector."""
EMBEDDING = 0.1
"""Share of the one tensor that is far larger than the others."""
_ROW = 256
_numbers = itertools.count(1)


class State:
    """Named tensors in one block of memory that begins at a page; `count` is a multiple of four, and one more."""

    def __init__(self, nbytes: int, count: int = 200) -> None:
        layers = count // len(GROUP)
        share = nbytes * (1 - EMBEDDING) / layers / sum(GROUP)
        rows = {"embedding": _rows(nbytes * EMBEDDING)}
        for layer, (number, part) in itertools.product(range(layers), enumerate(GROUP)):
            rows[f"layer{layer}_{number}"] = _rows(share * part)
        self.nbytes = sum(rows.values()) * _ROW
        self.memory = memoryview(mmap.mmap(-1, self.nbytes))
        self.tensors: dict[str, torch.Tensor] = {}
        self._bytes: dict[str, np.ndarray] = {}
        noise, at = np.random.default_rng(0), 0
        for number, (name, height) in enumerate(rows.items()):
            own = np.frombuffer(self.memory[at : at + height * _ROW], np.uint8)
            own.view(np.uint64)[:] = noise.integers(0, 1 << 62, own.nbytes // 8, np.uint64)
            dtype = (torch.float32, torch.bfloat16)[number // len(GROUP) % 2]
            self.tensors[name] = torch.frombuffer(own, dtype=dtype).view(height, -1)
            self._bytes[name] = own
            at += own.nbytes

    def change(self, names: Iterable[str] | None = None) -> None:
        """Give every tensor, or those of `names`, a content that was never saved."""
        for name in self.tensors if names is None else names:
            self._bytes[name].view(np.uint64)[0] = next(_numbers)

    def last(self, share: float) -> tuple[list[str], int]:
        """Return the names of the last tensors, that together hold about `share` of the bytes, and how many bytes."""
        names, nbytes = list[str](), 0
        for name in reversed(self.tensors):
            if nbytes < share * self.nbytes:
                names.append(name)
                nbytes += self._bytes[name].nbytes
        return names, nbytes

    def payload(self, checkpoint_id: str, names: Iterable[str] | None = None) -> CheckpointPayload:
        """Return it, or the tensors of `names`, as a storage backend takes it."""
        buffers = tuple(self._buffers(self.tensors if names is None else names))
        return CheckpointPayload(checkpoint_id, {"names": [each.name for each in buffers]}, buffers, {})

    def _buffers(self, names: Iterable[str]) -> Iterator[Buffer]:
        for name in names:
            tensor = self.tensors[name]
            dtype = str(tensor.dtype).removeprefix("torch.")
            yield Buffer(name, dtype, tuple(tensor.shape), memoryview(self._bytes[name]))

    def module(self) -> torch.nn.Module:
        """Return a module whose parameters are these tensors, in the same memory."""
        module = torch.nn.Module()
        for name, tensor in self.tensors.items():
            module.register_parameter(name, torch.nn.Parameter(tensor))
        return module


def _rows(nbytes: float) -> int:
    return max(1, round(nbytes / _ROW))
