"""SHA-256, the identity of stored bytes."""

from __future__ import annotations

import hashlib
from typing import Protocol

CHUNK_NBYTES = 8 * 1024 * 1024
BLOCK_NBYTES = 256 * 1024  # fits a core's cache: the copy costs a fraction of the hash


class _Sink(Protocol):
    def write(self, data: memoryview) -> object: ...


def sha256_hex(data: bytes | bytearray | memoryview) -> str:
    """Return the SHA-256 of `data` in hex. Releases the GIL for anything but tiny inputs."""
    return hashlib.sha256(data).hexdigest()


class HashingWriter:
    """A file-like object that hashes and counts what passes through it on the way to `sink`."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self.nbytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Pass `data` on in full and return its length in bytes.

        A block is copied before it is hashed: live memory that another thread changes between the two readings would
        give a file that its own digest refuses for ever.
        """
        view = memoryview(data).cast("B")
        for start in range(0, view.nbytes, BLOCK_NBYTES):
            block = memoryview(bytes(view[start : start + BLOCK_NBYTES]))
            self._hash.update(block)
            self._sink.write(block)
        self.nbytes += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Nothing is held back here; present because writers of files expect it."""

    @property
    def hexdigest(self) -> str:
        """SHA-256 of everything written so far, in hex."""
        return self._hash.hexdigest()
