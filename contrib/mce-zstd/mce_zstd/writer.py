"""Writes a ``.mcez`` file: under another name, synced, then given its own, so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mce_zstd.grouping import grouped
from mce_zstd.layout import MAX_RATIO, PRELUDE, check_ratio, group_width, pack
from mce_zstd.pipeline import in_order, thread_count
from mce_zstd.tensors import as_tensors, dtype_name, raw_bytes
from model_checkpoint.common.fsops import FsOps, FullWriter, publish_new, write_all_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write_file(
    tensors: Mapping[str, object],
    target: Path,
    *,
    metadata: Mapping[str, str] | None = None,
    level: int = 0,
    threads: int = 0,
    chunk_nbytes: int = 8 * 1024 * 1024,
    max_ratio: int = MAX_RATIO,
    fs: FsOps | None = None,
) -> None:
    """Write tensors to `target`, which does not exist.

    Beside the tensors, about ``2 * threads`` chunks are in memory, and a copy of one that does not lie in order on a
    CPU. Raises ``UnstorableStateError``, ``CheckpointExistsError``, ``IntegrityError`` where a file would hold so much
    more than its length that a reader would refuse it, OSError.
    """
    fs = fs or FsOps()
    plain, ties = as_tensors(tensors)
    writing = _Writing(plain, ties, dict(metadata or {}), chunk_nbytes, level)
    fs.make_dirs(target.parent)
    temp = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        with fs.create(temp) as file:
            size = len(writing.header())  # with lengths as long as they can be: the true ones fit in
            file.seek(PRELUDE.size + size)
            out = FullWriter(file)
            frames = in_order(writing.compressed, writing.chunks(), thread_count(threads))
            with contextlib.closing(frames):
                for name, frame in frames:
                    writing.frames[name].append(len(frame))
                    out.write(memoryview(frame))
            head = pack(writing.header().ljust(size))
            write_all_at(fs, file, memoryview(head), 0)
            check_ratio(writing.nbytes, len(head) + sum(map(sum, writing.frames.values())), max_ratio, target)
            fs.sync_file(file)
        publish_new(fs, temp, target)
    finally:
        with contextlib.suppress(OSError):
            fs.unlink(temp)


class _Writing:
    """What is known of a file while it is written."""

    def __init__(
        self, tensors: dict[str, Any], ties: dict[str, str], metadata: dict[str, str], chunk_nbytes: int, level: int
    ) -> None:
        self._tensors, self._ties, self._metadata = tensors, ties, metadata
        self._chunk_nbytes, self._level = chunk_nbytes, level
        self._digests: dict[str, str] = {}
        self._local = threading.local()
        self.frames: dict[str, list[int]] = {name: [] for name in tensors}
        self.nbytes = sum(tensor.nbytes for tensor in tensors.values())

    def header(self) -> bytes:
        """Return the header, with the longest that there can be for what is not known yet."""
        entries = []
        for name, tensor in self._tensors.items():
            count = -(-tensor.nbytes // self._chunk_nbytes)
            entries.append(
                {
                    "name": name,
                    "dtype": dtype_name(tensor),
                    "shape": list(tensor.shape),
                    "group": group_width(dtype_name(tensor), tensor.dtype.itemsize),
                    "sha256": self._digests.get(name, "0" * 64),
                    "frames": self.frames[name] or [2 * self._chunk_nbytes] * count,
                }
            )
        table = {
            "chunk_nbytes": self._chunk_nbytes,
            "metadata": self._metadata,
            "ties": self._ties,
            "tensors": entries,
        }
        return json.dumps(table, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")

    def chunks(self) -> Iterator[tuple[str, NDArray[np.uint8], int]]:
        """Yield the chunks of all tensors, and take their digests.

        A chunk is copied first: what is hashed and what is compressed must be the same, also where a training goes on
        changing the memory.
        """
        for name, tensor in self._tensors.items():
            data, digest = raw_bytes(tensor), hashlib.sha256()
            width = group_width(dtype_name(tensor), tensor.dtype.itemsize)
            for start in range(0, len(data), self._chunk_nbytes):
                chunk = data[start : start + self._chunk_nbytes].copy()
                digest.update(chunk.data)
                yield name, chunk, width
            self._digests[name] = digest.hexdigest()

    def compressed(self, chunk: tuple[str, NDArray[np.uint8], int]) -> tuple[str, bytes]:
        """Return a chunk as a frame of zstd. Called in several threads, each with a compressor of its own."""
        import zstandard

        name, data, width = chunk
        if not hasattr(self._local, "compressor"):
            self._local.compressor = zstandard.ZstdCompressor(compression_params=_parameters(self._level))
        out = self._local.compressor.compressobj(size=len(data))
        parts = []
        for group in grouped(data, width).reshape(width, -1):  # a block that mixed two groups would fit neither
            parts += [out.compress(group), out.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
        return name, b"".join([*parts, out.flush()])


def _parameters(level: int) -> Any:
    """Return zstd's parameters. Level 0 hardly searches: on weights it is faster than 1, and smaller than 9."""
    import zstandard

    make = zstandard.ZstdCompressionParameters.from_level
    return make(1, min_match=7, hash_log=zstandard.HASHLOG_MIN) if level == 0 else make(level)
