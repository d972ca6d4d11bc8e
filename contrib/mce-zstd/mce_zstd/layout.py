"""The format ``.mcez``, and the parser of its header, which believes nothing.

::

    offset  length
    0       8      magic: 0x93 "MCEZ" CR LF 0x1A, which a transfer as text would damage
    8       4      version, little endian: 1
    12      8      length n of the header, little endian
    20      32     SHA-256 of the header
    52      n      header: JSON in UTF-8, padded with spaces
    52+n    ...    frames of zstd, one for each chunk of each tensor, in the order of the header, without holes

    {"chunk_nbytes": 8388608, "metadata": {"run": "digits-1"}, "ties": {"head.weight": "embed.weight"},
     "tensors": [{"name": "embed.weight", "dtype": "bfloat16", "shape": [50257, 768], "group": 2,
                  "sha256": "<of the raw bytes>", "frames": [5210334, ...]}, ...]}

A frame holds ``chunk_nbytes`` raw bytes, the last one of a tensor the rest. Before compression the bytes of a chunk are
grouped: all first bytes of its numbers, then all second bytes, and so on, ``group`` being the length of one number.
Where each frame lies follows from the lengths alone, so that nothing can overlap or point elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

from model_checkpoint.errors import IntegrityError

MAGIC = b"\x93MCEZ\r\n\x1a"
VERSION = 1
PRELUDE = struct.Struct("<8sIQ32s")
MAX_HEADER_NBYTES = 32 * 1024 * 1024
MIN_CHUNK_NBYTES, MAX_CHUNK_NBYTES = 64 * 1024, 16 * 1024 * 1024
CHUNK_STEP = 16
"""Chunks are multiples of it, so that no number lies in two of them."""
MAX_TENSORS = 200_000
MAX_RATIO = 200
FREE_NBYTES = 1024**3
"""So much any file may claim to hold: more than `MAX_RATIO` times its length is suspicious only beyond."""
ZSTD_MAX_RATIO = 128 * 1024 // 4
"""No frame of zstd gives more bytes than this for each of its own: a block of 128 KiB takes at least 4."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEYS = {"chunk_nbytes", "metadata", "ties", "tensors"}
_TENSOR_KEYS = {"name", "dtype", "shape", "group", "sha256", "frames"}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    group: int
    nbytes: int
    sha256: str
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says that it holds; every number in it was checked against the file's length."""

    chunk_nbytes: int
    metadata: dict[str, str]
    ties: dict[str, str]
    tensors: tuple[TensorEntry, ...]
    data_offset: int


def group_width(dtype: str, itemsize: int) -> int:
    """Return how many bytes one number takes: of a complex one, its half."""
    return itemsize // 2 if dtype.startswith("complex") else itemsize


def pack(header: bytes) -> bytes:
    """Return everything before the frames."""
    return PRELUDE.pack(MAGIC, VERSION, len(header), hashlib.sha256(header).digest()) + header


def parse_prelude(data: bytes, file_nbytes: int, path: Path) -> tuple[int, bytes]:
    """Return length and SHA-256 of the header. Raises ``IntegrityError``."""
    if len(data) < PRELUDE.size:
        _refuse(path, f"it is {file_nbytes} bytes long, which is too short for any file of this format")
    magic, version, nbytes, digest = PRELUDE.unpack(data)
    if magic != MAGIC:
        _refuse(path, "it does not begin like one")
    if version != VERSION:
        _refuse(path, f"its version is {version}, and this plugin reads version {VERSION}: update mce-zstd")
    if nbytes > min(MAX_HEADER_NBYTES, file_nbytes - PRELUDE.size):
        _refuse(path, f"its header claims {nbytes} bytes, of {file_nbytes} in the file, {MAX_HEADER_NBYTES} at most")
    return nbytes, digest


def parse_header(
    raw: bytes, digest: bytes, file_nbytes: int, itemsizes: dict[str, int], path: Path, max_ratio: int = MAX_RATIO
) -> Header:
    """Return the header, all of it checked. `itemsizes` has the dtypes that can be. Raises ``IntegrityError``."""
    if hashlib.sha256(raw).digest() != digest:
        _refuse(path, "its header is not what was written: the SHA-256 differs")
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"its header is no JSON: {str(error)[:200]}")
    if not isinstance(found, dict) or set(found) != _KEYS:
        _refuse(path, f"its header must have the keys {', '.join(sorted(_KEYS))}")
    chunk = found["chunk_nbytes"]
    if not _is_int(chunk) or not MIN_CHUNK_NBYTES <= chunk <= MAX_CHUNK_NBYTES or chunk % CHUNK_STEP:
        _refuse(path, f"its chunks of {chunk!r:.40} bytes are not {MIN_CHUNK_NBYTES} to {MAX_CHUNK_NBYTES}")
    if not isinstance(found["tensors"], list) or len(found["tensors"]) > MAX_TENSORS:
        _refuse(path, f"its tensors must be a list of at most {MAX_TENSORS}")
    tensors = tuple(_tensor(entry, chunk, itemsizes, path) for entry in found["tensors"])
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        _refuse(path, "two of its tensors have one name")
    ties = _texts(found["ties"], "ties", path)
    if names & set(ties) or not set(ties.values()) <= names:
        _refuse(path, "its ties must lead from other names to tensors")
    start = PRELUDE.size + len(raw)
    packed = sum(sum(tensor.frames) for tensor in tensors)
    if start + packed != file_nbytes:
        _refuse(path, f"it is {file_nbytes} bytes long, and its header accounts for {start + packed}")
    check_ratio(sum(tensor.nbytes for tensor in tensors), file_nbytes, max_ratio, path)
    return Header(chunk, _texts(found["metadata"], "metadata", path), ties, tensors, start)


def check_ratio(raw_nbytes: int, file_nbytes: int, max_ratio: int, path: Path) -> None:
    """Raise ``IntegrityError`` where a file claims to hold so much that it is more likely to be a bomb."""
    if raw_nbytes > max(FREE_NBYTES, max_ratio * file_nbytes):
        _refuse(
            path,
            f"{file_nbytes} bytes of it would give {raw_nbytes}, more than {max_ratio} times as many. If that is right,"
            " as it may be of zeros, raise max_ratio of the codec ([plugins.zstd] in mce.toml)",
        )


def _tensor(entry: Any, chunk_nbytes: int, itemsizes: dict[str, int], path: Path) -> TensorEntry:
    if not isinstance(entry, dict) or set(entry) != _TENSOR_KEYS or not isinstance(entry["name"], str):
        _refuse(path, f"each of its tensors must have the keys {', '.join(sorted(_TENSOR_KEYS))}")
    name, shape, frames = entry["name"], entry["shape"], entry["frames"]
    shown = f"its tensor {name!r:.80}"
    itemsize = itemsizes.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if itemsize is None:
        _refuse(path, f"{shown} has the dtype {entry['dtype']!r:.40}, which this version of torch lacks")
    if not isinstance(shape, list) or len(shape) > 64 or not all(_is_int(n) and 0 <= n < 2**48 for n in shape):
        _refuse(path, f"{shown} has the shape {shape!r:.80}, which none can have")
    nbytes = prod(shape) * itemsize
    if entry["group"] != group_width(entry["dtype"], itemsize) or not _is_int(entry["group"]):
        _refuse(path, f"{shown} has the group {entry['group']!r:.40}")
    if not isinstance(entry["sha256"], str) or not _DIGEST.fullmatch(entry["sha256"]):
        _refuse(path, f"{shown} has the SHA-256 {entry['sha256']!r:.80}")
    if not isinstance(frames, list) or len(frames) != -(-nbytes // chunk_nbytes) or not all(map(_is_int, frames)):
        _refuse(path, f"{shown} of {nbytes} bytes must come in {-(-nbytes // chunk_nbytes)} frames")
    for index, packed in enumerate(frames):
        raw = min(chunk_nbytes, nbytes - index * chunk_nbytes)
        if not 0 < packed <= raw + raw // 128 + 1024 or raw > packed * ZSTD_MAX_RATIO:
            _refuse(path, f"{shown} has a frame of {packed} bytes for {raw}, which zstd never writes")
    return TensorEntry(name, entry["dtype"], tuple(shape), entry["group"], nbytes, entry["sha256"], tuple(frames))


def _texts(found: Any, what: str, path: Path) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        _refuse(path, f"its {what} must be a table of texts")
    return found


def _is_int(value: object) -> bool:
    return type(value) is int  # True and 2.0 are none


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands there twice")
    return made


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _refuse(path: Path, why: str) -> NoReturn:
    raise IntegrityError(f"{path} is no whole .mcez file: {why}", path=str(path))
