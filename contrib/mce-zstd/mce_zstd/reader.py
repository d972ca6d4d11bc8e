"""Reads a ``.mcez`` file: no memory for a size that was not checked, nothing returned that was not."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from mce_zstd.grouping import ungroup
from mce_zstd.layout import MAX_RATIO, PRELUDE, Header, TensorEntry, parse_header, parse_prelude
from mce_zstd.pipeline import in_order, thread_count
from mce_zstd.tensors import empty, itemsizes
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _Chunk(NamedTuple):
    entry: TensorEntry
    number: int
    frame: bytes
    into: NDArray[np.uint8]


def read_header(source: Path, *, max_ratio: int = MAX_RATIO) -> Header:
    """Return what a file says that it holds, reading nothing else. Raises ``IntegrityError``, OSError."""
    with FsOps().open_regular(source.resolve()) as file:
        return _header(file, source, max_ratio)


def read_file(source: Path, *, threads: int = 0, max_ratio: int = MAX_RATIO) -> dict[str, object]:
    """Return the tensors by name; names that are tied lead to one tensor.

    Raises ``IntegrityError`` that names what is wrong, before it takes memory for a size that cannot be right; OSError.
    """
    with FsOps().open_regular(source.resolve()) as file:
        header = _header(file, source, max_ratio)
        found: dict[str, Any] = {}
        memory: dict[str, NDArray[np.uint8]] = {}
        for entry in header.tensors:
            found[entry.name], memory[entry.name] = empty(entry.dtype, entry.shape, entry.nbytes)
        digests = {entry.name: hashlib.sha256() for entry in header.tensors}
        chunks = in_order(_Decompressing(source), _chunks(file, header, memory, source), thread_count(threads))
        with contextlib.closing(chunks):
            for chunk in chunks:
                digests[chunk.entry.name].update(chunk.into.data)
    for entry in header.tensors:
        actual = digests[entry.name].hexdigest()
        if actual != entry.sha256:
            raise IntegrityError(
                f"{source}: the tensor {entry.name!r:.80} is not what was written: its SHA-256 differs",
                path=str(source),
                expected=entry.sha256,
                actual=actual,
            )
    return found | {name: found[target] for name, target in header.ties.items()}


def _header(file: IO[bytes], source: Path, max_ratio: int) -> Header:
    file_nbytes = os.fstat(file.fileno()).st_size
    nbytes, digest = parse_prelude(_exactly(file, min(PRELUDE.size, file_nbytes), source), file_nbytes, source)
    return parse_header(_exactly(file, nbytes, source), digest, file_nbytes, itemsizes(), source, max_ratio)


def _chunks(file: IO[bytes], header: Header, memory: dict[str, NDArray[np.uint8]], source: Path) -> Iterator[_Chunk]:
    for entry in header.tensors:
        for index, packed in enumerate(entry.frames):
            start = index * header.chunk_nbytes
            into = memory[entry.name][start : start + header.chunk_nbytes]
            yield _Chunk(entry, index, _exactly(file, packed, source), into)


def _exactly(file: IO[bytes], nbytes: int, source: Path) -> bytes:
    parts, left = [], nbytes
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    if left:
        raise IntegrityError(f"{source} became shorter while it was read: {left} bytes are missing", path=str(source))
    return b"".join(parts)


class _Decompressing:
    """Decompresses a chunk into its place. Called in several threads, each with a decompressor of its own."""

    def __init__(self, source: Path) -> None:
        self._source, self._local = source, threading.local()

    def __call__(self, chunk: _Chunk) -> _Chunk:
        import numpy as np
        import zstandard

        wanted = chunk.into.nbytes
        try:
            told = zstandard.get_frame_parameters(chunk.frame).content_size
            if told != wanted:  # before it is believed: so much memory would be taken
                raise zstandard.ZstdError(f"it would give {told} bytes, not {wanted}")
            if not hasattr(self._local, "decompressor"):
                self._local.decompressor = zstandard.ZstdDecompressor()
            data = self._local.decompressor.decompress(chunk.frame, max_output_size=wanted, allow_extra_data=False)
            if len(data) != wanted:
                raise zstandard.ZstdError(f"it gave {len(data)} bytes, not {wanted}")
        except zstandard.ZstdError as error:
            raise IntegrityError(
                f"{self._source}: frame {chunk.number} of the tensor {chunk.entry.name!r:.80} is damaged: {error}",
                path=str(self._source),
            ) from None
        ungroup(np.frombuffer(data, dtype=np.uint8), chunk.entry.group, chunk.into)
        return chunk
