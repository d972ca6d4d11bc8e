"""Memory of whole pages."""

from __future__ import annotations

import mmap


def private_memory(nbytes: int) -> mmap.mmap:
    """Return page-aligned memory that a forked child gets a copy of, as it does of all other. Raises MemoryError."""
    try:
        if hasattr(mmap, "MAP_ANONYMOUS"):  # by default such memory is shared with children, who would write to ours
            return mmap.mmap(-1, max(nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return mmap.mmap(-1, max(nbytes, 1))
    except OSError as error:
        raise MemoryError(f"{nbytes} bytes of memory are not to be had: {error.strerror}") from error
