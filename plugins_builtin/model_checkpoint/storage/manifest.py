"""The manifest of a checkpoint: everything but the bytes of its tensors, and what commits to those.

::

    {"format":"model-checkpoint","version":1,"id":...,"data":{"name":...,"nbytes":...,"sha256":...},
     "buffers":[{"name":...,"dtype":...,"shape":[...],"nbytes":...,"place":{...}},...],"metadata":{...},"tree":{...}}
    <SHA-256 of the line above, in hex>

The first is one line of canonical JSON. Its digest is the checkpoint's: it covers structure and metadata directly, and
every tensor's bytes through the SHA-256 of the data file; in the vault, which has no data file of one checkpoint alone,
through the SHA-256 that each buffer's place names.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_checkpoint.common import leaves
from model_checkpoint.common.digest import sha256_hex
from model_checkpoint.contracts import JSON, CheckpointPayload, StoredCheckpoint, StoredFile
from model_checkpoint.errors import IntegrityError, StateDecodeError, StorageError, UnstorableStateError
from model_checkpoint.storage.canonical_json import from_bytes, from_text, to_bytes, to_text

FORMAT, VERSION = "model-checkpoint", 1
MAX_NBYTES = 256 * 1024 * 1024
MAX_DIMENSIONS = 64
_MAX_INT = 2**63 - 1
Place = Mapping[str, JSON]
"""Where in the data file a buffer lies, in the words of the file's format."""


@dataclass(frozen=True, slots=True)
class StoredBuffer:
    """What the manifest says of one buffer."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    place: Place


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was read and checked."""

    checkpoint_id: str
    digest: str
    tree: dict[str, JSON]
    metadata: dict[str, JSON]
    buffers: tuple[StoredBuffer, ...]
    data: StoredFile | None
    """The one data file; None in the vault, where each buffer's place names its own SHA-256."""
    nbytes: int
    """Of the manifest itself."""
    packs: tuple[str, ...] = ()
    """In the vault: the packs that held the tensors when it was written. Places count them from 0."""


def described(manifest: Manifest) -> StoredCheckpoint:
    """Return what a manifest says of its checkpoint."""
    tensors = {each.name: str(each.place["sha256"]) for each in manifest.buffers if "sha256" in each.place}
    nbytes = sum(buffer.nbytes for buffer in manifest.buffers)
    return StoredCheckpoint(manifest.checkpoint_id, manifest.digest, nbytes, manifest.metadata, tensors)


def state_text(payload: CheckpointPayload) -> str:
    """Return tree and metadata as a part of the manifest. Raises ``UnstorableStateError``.

    Metadata goes through the vocabulary of leaves: users put NaN and huge integers there, for which JSON has no word.
    """
    twice = [name for name, count in Counter(buffer.name for buffer in payload.buffers).items() if count > 1]
    if twice:
        raise UnstorableStateError([(name, "two buffers have this name") for name in twice])
    metadata = leaves.encode(dict(payload.metadata), lambda value, path, encode: None, path="metadata")
    text = f'"metadata":{to_text(metadata, "metadata")},"tree":{to_text(payload.tree, "tree")}'
    _check_size(payload, len(text))
    return text


def compose(
    payload: CheckpointPayload,
    state: str,
    data: StoredFile | None,
    places: Sequence[Place],
    packs: Sequence[str] | None = None,
) -> tuple[bytes, str]:
    """Return the manifest file and the digest. `packs` are those that places count.

    Raises ``StorageError`` where it would be too large to read.
    """
    buffers = [
        {
            "name": buffer.name,
            "dtype": buffer.dtype,
            "shape": [int(size) for size in buffer.shape],
            "nbytes": buffer.nbytes,
            "place": dict(place),
        }
        for buffer, place in zip(payload.buffers, places, strict=True)
    ]
    file: dict[str, object] = {"packs": list(packs)} if packs is not None else {}
    if data is not None:
        file["data"] = {"name": data.name, "nbytes": data.nbytes, "sha256": data.sha256}
    head = {"format": FORMAT, "version": VERSION, "id": payload.checkpoint_id, **file, "buffers": buffers}
    line = to_bytes(to_text(head, "manifest")[:-1] + "," + state + "}")
    digest = sha256_hex(line)
    sealed = line + b"\n" + digest.encode("ascii") + b"\n"
    _check_size(payload, len(sealed))
    return sealed, digest


def parse(raw: bytes | bytearray, path: Path, checkpoint_id: str, expected_digest: str | None) -> Manifest:
    """Check and return the manifest that `raw`, the content of `path`, must be of `checkpoint_id`.

    Nothing is decoded before both digests are right. Raises ``IntegrityError``; ``StorageError`` for one that a newer
    version has written.
    """
    line, newline, tail = raw.partition(b"\n")
    digest, recorded = sha256_hex(line), tail[:-1].decode("ascii", "replace")
    if not newline or len(tail) != 65 or tail[-1:] != b"\n" or recorded != digest:
        looks_whole = len(tail) == 65 and recorded.isalnum()
        raise IntegrityError(
            f"{path} is damaged: its content has the SHA-256 {digest}, not the one recorded in its last line. Put the"
            " file back from a copy, or load another checkpoint",
            path=str(path),
            expected=recorded if looks_whole else "",
            actual=digest,
        )
    if expected_digest is not None and digest != expected_digest:
        raise IntegrityError(
            f"{path} is not the manifest that was written for {checkpoint_id}: its SHA-256 is {digest}, the record says"
            f" {expected_digest}. Put the file back from a copy, or load another checkpoint",
            path=str(path),
            expected=expected_digest,
            actual=digest,
        )
    try:
        content = _object(from_text(from_bytes(line)), "the manifest")
        if content.get("format") != FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}, not {FORMAT!r}")
        version = _count(content, "version")
        if version > VERSION:
            raise StorageError(
                f"{path} was written in version {version} of the format, and this installation reads up to {VERSION}:"
                " update model-checkpoint-engine"
            )
        return _manifest(content, checkpoint_id, digest, len(raw))
    except (ValueError, LookupError, TypeError, StateDecodeError) as error:
        raise IntegrityError(
            f"{path} has a right checksum, but is no manifest of {checkpoint_id}: {error}", path=str(path)
        ) from error


def _check_size(payload: CheckpointPayload, nbytes: int) -> None:
    if nbytes > MAX_NBYTES:
        raise StorageError(
            f"the structure and metadata of {payload.checkpoint_id} take {nbytes} bytes, and no manifest is longer than"
            f" {MAX_NBYTES}; nothing was written. Keep large lists of numbers in tensors or arrays"
        )


def _manifest(content: Mapping[str, JSON], checkpoint_id: str, digest: str, nbytes: int) -> Manifest:
    if content["id"] != checkpoint_id:
        raise ValueError(f"it belongs to {content['id']!r}")
    entries = content["buffers"]
    if not isinstance(entries, list):
        raise TypeError("buffers must be a list")
    buffers = tuple(_buffer(_object(entry, "a buffer")) for entry in entries)
    if len({buffer.name for buffer in buffers}) != len(buffers):
        raise ValueError("two buffers have the same name")
    data = _object(content["data"], "data") if "data" in content else None
    metadata = leaves.decode(content["metadata"], _unknown)
    if not isinstance(metadata, dict):
        raise TypeError("metadata must be an object")
    return Manifest(
        checkpoint_id=checkpoint_id,
        digest=digest,
        tree=_object(content["tree"], "tree"),
        metadata=metadata,
        buffers=buffers,
        data=StoredFile(_text(data, "name"), _count(data, "nbytes"), _text(data, "sha256")) if data else None,
        nbytes=nbytes,
        packs=tuple(str(name) for name in packs) if isinstance(packs := content.get("packs"), list) else (),
    )


def _buffer(entry: Mapping[str, JSON]) -> StoredBuffer:
    shape = entry["shape"]
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise TypeError(f"a shape must be a list of at most {MAX_DIMENSIONS} sizes")
    sizes = tuple(size for size in shape if type(size) is int and 0 <= size <= _MAX_INT)
    name, nbytes = _text(entry, "name"), _count(entry, "nbytes")
    if len(sizes) != len(shape) or math.prod(sizes) > 8 * nbytes:  # the smallest element is a bit
        raise ValueError(f"the shape {shape} of {name[:80]!r} does not fit its {nbytes} bytes")
    return StoredBuffer(name, _text(entry, "dtype"), sizes, nbytes, _object(entry["place"], "place"))


def _object(value: object, what: str) -> dict[str, JSON]:
    if not isinstance(value, dict):
        raise TypeError(f"{what} must be an object")
    return value


def _text(entry: Mapping[str, JSON], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string")
    return value


def _count(entry: Mapping[str, JSON], key: str) -> int:
    value = entry[key]
    if type(value) is not int or not 0 <= value <= _MAX_INT:
        raise TypeError(f"{key} must be an integer from 0 to 2**63 - 1")
    return value


def _unknown(kind: str, node: Mapping[str, object], decode: object) -> object:
    raise StateDecodeError(f"metadata holds an unknown kind of node, {kind!r}")
