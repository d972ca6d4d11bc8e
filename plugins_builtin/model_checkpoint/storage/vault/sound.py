"""Where the tensors of a checkpoint are, and whether they are what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model_checkpoint.errors import IntegrityError, MissingFileError, StorageError
from model_checkpoint.storage.manifest import Manifest, StoredBuffer
from model_checkpoint.storage.vault.catalog import Catalog, Found, Reader, Skip
from model_checkpoint.storage.vault.pack_read import damaged

READING = ("fast", "full")
"""The depths of verification that read every byte."""


def locate(reader: Reader, manifest: Manifest) -> tuple[list[Found], list[str], bool]:
    """Return where the buffers are, what is wrong with the others, and whether one of these is nowhere."""
    located, bad, is_missing = [], [], False
    for buffer in manifest.buffers:
        try:
            located.append(_find(reader, manifest, buffer, frozenset()))
        except StorageError as error:
            bad.append(f"{buffer.name[:200]}: {error}")
            is_missing = is_missing or isinstance(error, MissingFileError)
    return located, bad, is_missing


def _find(reader: Reader, manifest: Manifest, buffer: StoredBuffer, skip: Skip) -> Found:
    place = buffer.place
    hint = manifest.packs[int(str(place["pack"]))]
    try:
        return reader.tensor(str(place["sha256"]), str(place["xxh3"]), buffer.nbytes, hint, skip)
    except FileNotFoundError as error:
        path = str(error.filename)
        raise MissingFileError(
            f"{path} is gone, and {buffer.name[:200]!r} cannot be read without it. Put the file back from a copy,"
            " or load another checkpoint",
            path=path,
        ) from None


def sound(reader: Reader, catalog: Catalog, manifest: Manifest, depth: str) -> list[Found]:
    """Return where every buffer is, each checked; a damaged tensor is taken from another pack if one has it."""
    skip: Skip = frozenset()
    failure: IntegrityError | None = None
    try:
        while True:
            try:
                located = [_find(reader, manifest, buffer, skip) for buffer in manifest.buffers]
            except StorageError as error:
                raise failure or error from None
            if depth not in READING:
                return located
            wrong = damaged(distinct(located), depth)
            if not wrong:
                return located
            skip |= {(pack.path, tensor.sha256) for pack, tensor, _ in wrong}
            pack, tensor, actual = wrong[0]
            failure = failure or IntegrityError(
                damage(pack.path, tensor.name, actual) + ". Put the file back from a copy, or load another checkpoint",
                path=str(pack.path),
                expected=tensor.sha256 if depth == "full" else tensor.xxh3,
                actual=actual,
            )
    finally:
        for path in {path for path, _ in skip}:
            catalog.set_aside(path)


def distinct(located: Sequence[Found]) -> list[Found]:
    """Return every tensor once."""
    return list({(pack.path, tensor.sha256): (pack, tensor) for pack, tensor in located}.values())


def damage(path: Path, tensor: str, actual: str) -> str:
    """Say that a tensor is damaged."""
    return (
        f"{path} is damaged: the bytes of {tensor[:200]!r} have the digest {actual}, not the one they were written with"
    )
