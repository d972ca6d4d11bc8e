"""The data of a file that several threads write at once, in segments of one size.

A thread copies its bytes into the memory of the segments that they fall into, and digests the copy: what is written is
what was digested, whatever happens to the original meanwhile. Whoever fills a segment's last byte writes it. So small
tensors share a write, large ones are spread over all threads, and every write is whole pages at a whole page, which is
what the device wants where the page cache is passed by.
"""

from __future__ import annotations

import errno
import mmap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from model_checkpoint.common.fsops import FsOps, write_all_at
from model_checkpoint.common.memory import private_memory

SEGMENT_NBYTES = 8 * 1024 * 1024
PIECE_NBYTES = 256 * 1024
"""Copied and digested at once: still in the core's cache when the second digest reads it."""
_PAGE = 4096
Bytes = npt.NDArray[np.uint8]


class BrokenOff(Exception):
    """Another thread of the same write has failed."""


class BlockPool:
    """Page-aligned memory for segments, reused from one write to the next."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def take(self) -> mmap.mmap:
        """Return a block, a new one where none is free."""
        with self._lock:
            return self._free.pop() if self._free else private_memory(SEGMENT_NBYTES)

    def give(self, block: mmap.mmap) -> None:
        """Take a block back."""
        with self._lock:
            self._free.append(block)

    def clear(self) -> None:
        """Let go of the memory that is free."""
        with self._lock:
            self._free.clear()


@dataclass(slots=True)
class _Segment:
    block: mmap.mmap
    filled: int = 0


class Segments:
    """The data of one file. Ranges are filled in any order and by any thread, each byte once.

    A thread may fill a range only when every earlier byte was given to some thread: then at most three segments per
    thread are in memory, and no thread waits for a block that never comes back.
    """

    def __init__(self, fs: FsOps, file: IO[bytes], begin: int, pool: BlockPool, broken: threading.Event) -> None:
        self._fs, self._file, self._begin, self._pool, self._broken = fs, file, begin, pool, broken
        self._open: dict[int, _Segment] = {}
        self._lock = threading.Lock()

    def fill(self, at: int, source: Bytes, digest: Callable[[memoryview], None]) -> None:
        """Copy `source` to offset `at` of the file, and pass the copy through `digest` piece by piece.

        Raises OSError; ``BrokenOff`` where another thread failed.
        """
        for number, inside, begin, end in _pieces(at - self._begin, source.nbytes):
            if self._broken.is_set():
                raise BrokenOff
            segment = self._segment(number)
            target: Bytes = np.frombuffer(segment.block, np.uint8)[inside : inside + end - begin]
            np.copyto(target, source[begin:end])
            digest(target.data)
            with self._lock:
                segment.filled += end - begin
                is_full = segment.filled == SEGMENT_NBYTES
            if is_full:
                self._write(number, segment, SEGMENT_NBYTES)

    def finish(self) -> None:
        """Write what the last segment holds, up to a whole page. Raises OSError."""
        for number, segment in [*self._open.items()]:
            whole_pages = -(-segment.filled // _PAGE) * _PAGE
            segment.block[segment.filled : whole_pages] = bytes(whole_pages - segment.filled)
            self._write(number, segment, whole_pages)

    def abandon(self) -> None:
        """Give back the memory of what was not written."""
        for segment in self._open.values():
            self._pool.give(segment.block)
        self._open.clear()

    def _segment(self, number: int) -> _Segment:
        with self._lock:
            if number not in self._open:
                self._open[number] = _Segment(self._pool.take())
            return self._open[number]

    def _write(self, number: int, segment: _Segment, nbytes: int) -> None:
        write_pages(self._fs, self._file, memoryview(segment.block)[:nbytes], self._begin + number * SEGMENT_NBYTES)
        with self._lock:
            del self._open[number]
        self._pool.give(segment.block)


def write_pages(fs: FsOps, file: IO[bytes], pages: memoryview, offset: int) -> None:
    """Write whole pages at a whole page; through the page cache where the file system refuses to pass it by."""
    try:
        write_all_at(fs, file, pages, offset)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fs.bypass_cache(file, False)
        write_all_at(fs, file, pages, offset)


def _pieces(at: int, nbytes: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (segment, offset in it, begin, end) of the pieces of a range that begins at `at`."""
    begin = 0
    while begin < nbytes:
        number, inside = divmod(at + begin, SEGMENT_NBYTES)
        end = min(nbytes, begin + PIECE_NBYTES, begin + SEGMENT_NBYTES - inside)
        yield number, inside, begin, end
        begin = end
