"""A pack: a valid ``.safetensors`` file whose header carries the digests of its tensors.

::

    8 bytes          length of the header, little-endian
    header           JSON, filled up with spaces so that data begins at a multiple of 4096
                     {"__metadata__": {"format": "pt", "mce.pack": "1", "mce.sha256": "<hex> <hex> ...",
                                       "mce.xxh3": "<hex> <hex> ..."},       one per tensor, in the order of their bytes
                      "model.weight": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}
    data             without a gap; tensors whose length is a multiple of 4096 first, so those begin at one too

The file is called ``<time-ordered id>-<first 16 hex digits of the header's SHA-256>.safetensors``: name, header,
digests and data commit to one another. `parse` is strict, for a pack may come from anywhere: it never believes a
length, an offset or a name before it has looked at it, and never takes memory because a file says so.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_checkpoint.common.clock import now_s
from model_checkpoint.errors import IntegrityError

PAGE = 4096
MAX_HEADER_NBYTES = 16 * 1024 * 1024
MAX_TENSORS = 1_000_000
MAX_NAME_NBYTES = 1024
SUFFIX = ".safetensors"
VERSION = "1"
_METADATA = "__metadata__"
EMPTY_NBYTES = 256
"""More than a header takes that has no tensor."""
_NAMELESS_ENTRY_NBYTES = 240
"""More than the digests, dtype, shape and offsets of a tensor take in a header; long shapes are counted apart."""
_NUMBER = rb"(0|[1-9][0-9]{0,18})"
_HEAD = re.compile(
    rb'\{"__metadata__":\{"format":"pt","mce\.pack":"([^"]{1,20})",'
    rb'"mce\.sha256":"([0-9a-f ]*)","mce\.xxh3":"([0-9a-f ]*)"\}'
)
_ENTRY = re.compile(
    rb',("(?:[ -!#-\[\]-~]|\\[ -~]){1,6144}"):\{"dtype":"([A-Z0-9_]{1,16})",'
    rb'"shape":\[((?:[0-9]{1,19}(?:,[0-9]{1,19}){0,63})?)\],"data_offsets":\[' + _NUMBER + rb"," + _NUMBER + rb"\]\}"
)
_TAIL = re.compile(rb"\} *\Z")
ELEMENT_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "C64": 64,
    "BOOL": 8,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U64": 64,
    "U32": 32,
    "U16": 16,
    "U8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
}


@dataclass(frozen=True, slots=True)
class PackTensor:
    """One tensor of a pack."""

    name: str
    dtype: str
    """In the format's word, such as ``F32``."""
    shape: tuple[int, ...]
    begin: int
    """Where its bytes begin in the file."""
    nbytes: int
    sha256: str
    xxh3: str


@dataclass(frozen=True, slots=True)
class PackHeader:
    """What the header of a pack says."""

    tensors: tuple[PackTensor, ...]
    """In the order of their bytes."""
    data_begin: int
    nbytes: int
    """Of the whole file."""
    digest: str
    """SHA-256 of everything before the data, in hex."""


def pack_name(digest: str) -> str:
    """Return a new name for a pack whose header has that digest. Names sort by the time of writing."""
    return f"{int(now_s() * 1000):012x}{os.urandom(6).hex()}-{digest[:16]}{SUFFIX}"


def is_pack_name(name: str) -> bool:
    """Say whether a file of that name may be a pack."""
    stem = name.removesuffix(SUFFIX)
    return stem != name and len(stem) == 41 and stem[24] == "-" and set(stem) <= set("0123456789abcdef-")


def entry_room(name: str, shape: Sequence[int]) -> int:
    """Return how many bytes one tensor takes in a header at most."""
    key = json.dumps(name) if is_tensor_name(name) else "another name"
    return _NAMELESS_ENTRY_NBYTES + len(key) + 21 * len(shape)


def header_room(named: Sequence[tuple[str, Sequence[int]]], count: int) -> int:
    """Return how many bytes to keep free for the header of `count`, at least one, of these: name and shape of each."""
    rooms = sorted((entry_room(name, shape) for name, shape in named), reverse=True)
    needed = EMPTY_NBYTES + sum(rooms[: max(1, count)])
    return min(-(-needed // PAGE) * PAGE, (MAX_HEADER_NBYTES + 8) // PAGE * PAGE)


def compose(tensors: Sequence[PackTensor], room: int) -> tuple[bytes, PackHeader]:
    """Return the first `room` bytes of a pack, and its header. `begin` of each tensor counts from the file's start."""
    entries: dict[str, object] = {
        _METADATA: {
            "format": "pt",
            "mce.pack": VERSION,
            "mce.sha256": " ".join(tensor.sha256 for tensor in tensors),
            "mce.xxh3": " ".join(tensor.xxh3 for tensor in tensors),
        }
    }
    for tensor in tensors:
        begin = tensor.begin - room
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [begin, begin + tensor.nbytes],
        }
    text = json.dumps(entries, separators=(",", ":")).encode("ascii").ljust(room - 8)
    assert len(text) == room - 8, "header_room promises too little"
    raw = struct.pack("<Q", len(text)) + text
    end = room + sum(tensor.nbytes for tensor in tensors)
    return raw, PackHeader(tuple(tensors), room, end, hashlib.sha256(raw).hexdigest())


def header_nbytes(first: bytes | memoryview, file_nbytes: int, path: Path) -> int:
    """Return the length of everything before the data, from the file's first 8 bytes. Raises ``IntegrityError``."""
    if len(first) < 8:
        raise malformed(path, f"it is {file_nbytes} bytes long, and a header alone takes more")
    (length,) = struct.unpack_from("<Q", first)
    if not 2 <= length <= MAX_HEADER_NBYTES or 8 + length > file_nbytes:
        raise malformed(path, f"it claims a header of {length} bytes")
    return 8 + int(length)


def parse(raw: bytes, file_nbytes: int, path: Path) -> PackHeader:
    """Return the header that `raw`, everything before the data, is. Raises ``IntegrityError``.

    Only the digest in the file's name vouches for it: that is compared here too.
    """
    digest = hashlib.sha256(raw).hexdigest()
    if path.name[25:41] != digest[:16]:
        raise IntegrityError(
            f"{path} is damaged: its header has the SHA-256 {digest[:16]}..., and its name says {path.name[25:41]}...",
            path=str(path),
            expected=path.name[25:41],
            actual=digest[:16],
        )
    try:
        return _checked(raw, file_nbytes, digest)
    except ValueError as error:
        raise malformed(path, str(error)[:300]) from None


def malformed(path: Path, what: str) -> IntegrityError:
    """Return the error to raise for a file that is no pack of ours."""
    return IntegrityError(f"{path} is no pack that was ever written: {what}. It was left as it is", path=str(path))


def _checked(raw: bytes, file_nbytes: int, digest: str) -> PackHeader:
    """Read the one form in which `compose` writes, entry by entry: nothing takes more memory than a tensor's entry."""
    head = _HEAD.match(raw, 8)
    if head is None:
        raise ValueError("its header does not begin as one does")
    if head[1] != VERSION.encode():
        raise ValueError(f"it is of version {head[1][:20]!r}")
    sha256, xxh3 = _digests(head[2], 64), _digests(head[3], 32)
    if len(sha256) != len(xxh3):
        raise ValueError("it lists digests of one kind that it lacks of the other")
    tensors: list[PackTensor] = []
    names: set[str] = set()
    data_begin = at = len(raw)
    position = head.end()
    for full, fast in zip(sha256, xxh3, strict=True):
        entry = _ENTRY.match(raw, position)
        if entry is None:
            raise ValueError(f"entry {len(tensors)} of its header is no tensor's")
        position = entry.end()
        name = str(json.loads(entry[1]))
        shape = tuple(map(int, entry[3].split(b","))) if entry[3] else ()
        dtype, begin, end = entry[2].decode(), int(entry[4]), int(entry[5])
        if name in names or not is_tensor_name(name):
            raise ValueError(f"a tensor is called {name[:80]!r}, as another one is or none may be")
        if begin != at - data_begin or (end - begin) * 8 != math.prod(shape) * ELEMENT_BITS.get(dtype, -1):
            raise ValueError(f"{name[:80]!r} overlaps another tensor, leaves a gap or does not fit its shape")
        names.add(name)
        tensors.append(PackTensor(name, dtype, shape, at, end - begin, full.decode(), fast.decode()))
        at += end - begin
    if _TAIL.match(raw, position) is None:
        raise ValueError(f"its header goes on after its {len(tensors)} tensors")
    if at != file_nbytes:
        raise ValueError(f"its tensors end at byte {at}, the file at {file_nbytes}")
    return PackHeader(tuple(tensors), data_begin, file_nbytes, digest)


def _digests(listed: bytes, length: int) -> list[bytes]:
    count = (len(listed) + 1) // (length + 1)
    if count > MAX_TENSORS or (listed and (count * (length + 1) - 1 != len(listed) or listed.count(b" ") != count - 1)):
        raise ValueError("it lists what are no digests")
    digests = listed.split()
    if any(len(digest) != length for digest in digests):
        raise ValueError("it lists what are no digests")
    return digests


def is_tensor_name(name: str) -> bool:
    """Say whether a tensor of a pack may be called so: no control characters, at most 1024 bytes."""
    return (
        0 < len(name) <= MAX_NAME_NBYTES
        and name != _METADATA
        and not any(letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff" for letter in name)
        and len(name.encode()) <= MAX_NAME_NBYTES
    )
