"""Reads a checkpoint's data file against what its manifest says of it: length first, then SHA-256."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from model_checkpoint.common.digest import CHUNK_NBYTES, sha256_hex
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StoredFile
from model_checkpoint.errors import IntegrityError, MissingFileError


def read_data(fs: FsOps, path: Path, wanted: StoredFile) -> bytearray:
    """Return the content of `path`, verified. Raises ``MissingFileError``, ``IntegrityError``."""
    try:
        data = fs.read(path, limit=wanted.nbytes)
    except FileNotFoundError:
        raise _gone(path) from None
    _compare(path, wanted, len(data), sha256_hex(data) if len(data) == wanted.nbytes else "")
    return data


def check_data(fs: FsOps, path: Path, wanted: StoredFile) -> int:
    """Verify `path` in constant memory and return its length in bytes. Raises as `read_data` does."""
    try:
        file = fs.open_regular(path)
    except FileNotFoundError:
        raise _gone(path) from None
    with file:
        nbytes = os.fstat(file.fileno()).st_size
        if nbytes != wanted.nbytes:
            _compare(path, wanted, nbytes, "")
        digest, nbytes = hashlib.sha256(), 0
        while chunk := file.read(CHUNK_NBYTES):
            digest.update(chunk)
            nbytes += len(chunk)
    _compare(path, wanted, nbytes, digest.hexdigest())
    return nbytes


def _compare(path: Path, wanted: StoredFile, nbytes: int, sha256: str) -> None:
    if nbytes != wanted.nbytes:
        raise IntegrityError(
            f"{path} is damaged: it is {nbytes} bytes long, and {wanted.nbytes} were written. Put the file back from a"
            " copy, or load another checkpoint",
            path=str(path),
            expected=str(wanted.nbytes),
            actual=str(nbytes),
        )
    if sha256 != wanted.sha256:
        raise IntegrityError(
            f"{path} is damaged: its SHA-256 is {sha256}, and {wanted.sha256} was written. Put the file back from a"
            " copy, or load another checkpoint",
            path=str(path),
            expected=wanted.sha256,
            actual=sha256,
        )


def _gone(path: Path) -> MissingFileError:
    return MissingFileError(
        f"{path} is gone, and its checkpoint cannot be read without it. Put the file back from a copy, or load another"
        " checkpoint",
        path=str(path),
    )
