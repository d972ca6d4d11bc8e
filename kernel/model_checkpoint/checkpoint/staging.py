"""Copies of a state in memory that is reused, so that training goes on while the copy is written.

The copy is made in the thread that trains, before it goes on: nothing can change in between, and no optimizer has to be
held up. What it costs is one pass through memory that is mapped already; the first copy maps it, which takes longer.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from model_checkpoint.common.memory import private_memory
from model_checkpoint.common.parallel import Stop, in_parallel

if TYPE_CHECKING:
    from model_checkpoint.contracts import Buffer

_ALIGNMENT = 64
_PIECE_NBYTES = 8 * 1024 * 1024
_MOST_THREADS = 8
_IN_ONE_THREAD_NBYTES = 1024 * 1024


class Stage:
    """Memory for one staged state; grows to the largest one it held."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None

    def copy(self, buffers: Sequence[Buffer]) -> list[Buffer]:
        """Return `buffers` with copies of their bytes, valid until the next call. Raises MemoryError."""
        begins, end = [], 0
        for buffer in buffers:
            begins.append(end)
            end += -(-buffer.nbytes // _ALIGNMENT) * _ALIGNMENT
        whole = memoryview(self._room(end))
        copies = [
            replace(buffer, data=whole[begin : begin + buffer.nbytes])
            for begin, buffer in zip(begins, buffers, strict=True)
        ]
        _copy_all([(copy.data, buffer.data) for copy, buffer in zip(copies, buffers, strict=True) if buffer.nbytes])
        return copies

    def clear(self) -> None:
        """Let go of the memory."""
        self._memory = None

    def _room(self, nbytes: int) -> mmap.mmap:
        if self._memory is None or len(self._memory) < nbytes:
            self._memory = None  # before the new one: two of them may not fit
            self._memory = private_memory(nbytes)
        return self._memory


def _copy_all(pairs: Sequence[tuple[memoryview, memoryview]]) -> None:
    """Copy each second into its first. Lets go of the interpreter's lock, so that several threads copy at once."""
    import numpy as np  # the kernel itself imports none

    pieces = ((target, source, begin) for target, source in pairs for begin in range(0, source.nbytes, _PIECE_NBYTES))
    lock = threading.Lock()

    def work(stop: Stop) -> None:
        while not stop:
            with lock:
                piece = next(pieces, None)
            if piece is None:
                return
            target, source, begin = piece
            end = min(begin + _PIECE_NBYTES, source.nbytes)
            np.copyto(np.frombuffer(target[begin:end], np.uint8), np.frombuffer(source[begin:end], np.uint8))

    nbytes = sum(source.nbytes for _, source in pairs)
    in_parallel(work, 1 if nbytes < _IN_ONE_THREAD_NBYTES else min(os.cpu_count() or 1, _MOST_THREADS))
