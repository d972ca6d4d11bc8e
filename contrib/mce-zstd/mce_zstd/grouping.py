"""Byte grouping: all first bytes of the numbers of a chunk, then all second bytes, and so on.

The high bytes of trained weights, sign and exponent, take few values and compress; the low ones are noise. Side by side
they hide the former from the compressor, apart they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def grouped(data: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return the bytes of `data`, whose length is a multiple of `width`, in groups."""
    import numpy as np

    return data if width == 1 else np.ascontiguousarray(data.reshape(-1, width).T).reshape(-1)


def ungroup(data: NDArray[np.uint8], width: int, into: NDArray[np.uint8]) -> None:
    """Write the bytes that were grouped into `into`, in their own order."""
    numbers, groups = into.reshape(-1, width), data.reshape(width, -1)
    for place in range(width):  # one at a time: numpy takes five to ten times as long for the transposed array
        numbers[:, place] = groups[place]
