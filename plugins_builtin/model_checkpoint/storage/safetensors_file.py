"""The safetensors format: an 8-byte length, a JSON header, then the bytes of all tensors without a gap.

The header is padded so that data begins at a multiple of 64, and tensors with larger elements come first: then each
one begins at a multiple of its element's size, and what is read can be used where it lies, without another copy. The
file is streamed: writing takes no memory beyond the header.

Reading does not look into the header. The manifest says where each tensor is, and is itself covered by a digest.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from model_checkpoint.common.digest import CHUNK_NBYTES, HashingWriter
from model_checkpoint.contracts import Buffer, CheckpointPayload
from model_checkpoint.errors import IntegrityError, StorageError
from model_checkpoint.storage.manifest import Place, StoredBuffer

ALIGNMENT = 64
MAX_HEADER_NBYTES = 100_000_000
"""What the safetensors library reads at most."""
MAX_KEY_LENGTH = 1024
_METADATA_KEY = "__metadata__"
DTYPES: dict[str, tuple[str, int]] = {
    "float64": ("F64", 8),
    "float32": ("F32", 4),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1),
    "complex64": ("C64", 8),
    "int64": ("I64", 8),
    "int32": ("I32", 4),
    "int16": ("I16", 2),
    "int8": ("I8", 1),
    "uint64": ("U64", 8),
    "uint32": ("U32", 4),
    "uint16": ("U16", 2),
    "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
}
"""By the frameworks' word: the format's word and the bytes of an element. Anything else is stored as bytes (U8)."""


class SafetensorsFormat:
    """Writes and reads ``.safetensors`` files that any other reader opens."""

    name, suffix = "safetensors", ".safetensors"

    def write(self, payload: CheckpointPayload, out: HashingWriter) -> Sequence[Place]:
        """Write the file and return the offset of each buffer. Raises ``StorageError`` for too large a header."""
        keys = _keys(payload.buffers)
        order = sorted(range(len(keys)), key=lambda index: -_element_nbytes(payload.buffers[index]))
        offsets, end = [0] * len(keys), 0
        entries: dict[str, object] = {_METADATA_KEY: _metadata(payload)}
        for index in order:
            buffer = payload.buffers[index]
            offsets[index], begin, end = end, end, end + buffer.nbytes
            dtype, shape = _declared(buffer)
            entries[keys[index]] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        header = _header(entries, payload.checkpoint_id)
        out.write(header)
        for index in order:
            for chunk in _chunks(payload.buffers[index].data):
                out.write(chunk)
        return [_place(len(header) + offsets[index], key, payload.buffers[index]) for index, key in enumerate(keys)]

    def read(self, data: bytearray, buffers: Sequence[StoredBuffer], path: Path) -> Sequence[memoryview]:
        """Return views into `data`. Raises ``IntegrityError`` for places that are not those of a written file."""
        begins = [_offset(entry, path) for entry in buffers]
        spans = sorted((begin, begin + entry.nbytes) for begin, entry in zip(begins, buffers, strict=True))
        at = _data_begin(data)
        for begin, end in spans:
            if begin != at:
                raise _malformed(path, f"a tensor begins at byte {begin} where {at} was expected")
            at = end
        if at != len(data):
            raise _malformed(path, f"its tensors end at byte {at} of {len(data)}")
        view = memoryview(data)
        return [view[begin : begin + entry.nbytes] for begin, entry in zip(begins, buffers, strict=True)]


def _keys(buffers: Sequence[Buffer]) -> list[str]:
    """Return what the buffers are called in the file: by their names, save those that no header can hold."""
    taken = {_METADATA_KEY, *(buffer.name for buffer in buffers)}
    keys = []
    for index, buffer in enumerate(buffers):
        key = buffer.name
        if key == _METADATA_KEY or len(key) > MAX_KEY_LENGTH or any("\ud800" <= letter <= "\udfff" for letter in key):
            key = f"buffer-{index}"
            while key in taken:
                key += "-"
            taken.add(key)
        keys.append(key)
    return keys


def _declared(buffer: Buffer) -> tuple[str, list[int]]:
    word, nbytes = DTYPES.get(buffer.dtype, ("", 0))
    if word and math.prod(buffer.shape) * nbytes == buffer.nbytes:
        return word, [int(size) for size in buffer.shape]
    return "U8", [buffer.nbytes]


def _element_nbytes(buffer: Buffer) -> int:
    """Return the bytes of an element where that is a power of two, else 1: such sizes tile without a gap."""
    count = math.prod(buffer.shape)
    nbytes = buffer.nbytes // count if count else 1
    return nbytes if nbytes > 0 and nbytes & (nbytes - 1) == 0 and nbytes * count == buffer.nbytes else 1


def _metadata(payload: CheckpointPayload) -> dict[str, str]:
    known = {key: payload.metadata.get(key) for key in ("epoch", "step")}
    numbers = {key: str(value) for key, value in known.items() if isinstance(value, int)}
    return {"format": "pt", "checkpoint_id": payload.checkpoint_id, **numbers}


def _header(entries: dict[str, object], checkpoint_id: str) -> bytes:
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER_NBYTES:
        raise StorageError(
            f"the {len(entries) - 1} tensors of {checkpoint_id} need a header of {len(text)} bytes, and safetensors"
            f" reads {MAX_HEADER_NBYTES}; nothing was written. Save it with storage_backend='pytorch'"
        )
    return struct.pack("<Q", len(text)) + text


def _chunks(data: memoryview) -> Iterator[memoryview]:
    """Yield pieces that still lie in the processor's cache when they are written after they were hashed."""
    for begin in range(0, data.nbytes, CHUNK_NBYTES):
        yield data[begin : begin + CHUNK_NBYTES]


def _place(offset: int, key: str, buffer: Buffer) -> Place:
    return {"offset": offset} if key == buffer.name else {"offset": offset, "key": key}


def _data_begin(data: bytearray) -> int:
    return 8 + struct.unpack_from("<Q", data)[0] if len(data) >= 8 else 8


def _offset(entry: StoredBuffer, path: Path) -> int:
    offset = entry.place.get("offset")
    if type(offset) is not int:
        raise _malformed(path, f"the manifest gives no offset for {entry.name[:200]!r}")
    return offset


def _malformed(path: Path, what: str) -> IntegrityError:
    return IntegrityError(f"{path} has the right checksum and is no file that was ever written: {what}", path=str(path))
