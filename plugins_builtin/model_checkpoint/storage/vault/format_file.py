"""``FORMAT``: what a store is, and what somebody must understand to read it, write to it or clean it up.

::

    {"features":{"gc":[],"read":[],"write":[]},"format":"mce-vault","hash":"sha256","store":"<id>","version":1}
    <SHA-256 of the line above, in hex>

A feature that this installation does not know refuses that operation alone, and says what to update. Fields that it
does not know are left as they are.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from model_checkpoint.common.digest import sha256_hex
from model_checkpoint.common.fsops import FsOps, publish_new, write_temp
from model_checkpoint.common.ids import random_id
from model_checkpoint.errors import CheckpointExistsError, IntegrityError, StorageError
from model_checkpoint.storage.workspace import Writer

NAME, VERSION, HASH = "mce-vault", 1, "sha256"
_MAX_NBYTES = 64 * 1024


def write_format(root: Path, fs: FsOps, writer: Writer) -> None:
    """Make the file, unless the store has one."""
    path = root / "FORMAT"
    if fs.identity(path) is not None:
        return
    content = {
        "features": {"gc": [], "read": [], "write": []},
        "format": NAME,
        "hash": HASH,
        "store": random_id(),
        "version": VERSION,
    }
    line = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    temp = writer.path("FORMAT")
    sealed = line + b"\n" + sha256_hex(line).encode() + b"\n"
    write_temp(fs, temp, lambda file: file.write(memoryview(sealed)))
    try:
        with contextlib.suppress(CheckpointExistsError):  # another process was faster
            publish_new(fs, temp, path)
    finally:
        fs.unlink(temp)


def check_format(root: Path, fs: FsOps, *, write: bool, gc: bool) -> None:
    """Refuse a store that this installation does not understand. One without the file is new, or lost it.

    Raises ``StorageError``, ``IntegrityError``.
    """
    path = root / "FORMAT"
    try:
        raw = fs.read(path, limit=_MAX_NBYTES)
    except FileNotFoundError:
        return
    line, _, tail = bytes(raw).partition(b"\n")
    if tail != sha256_hex(line).encode() + b"\n":
        raise IntegrityError(
            f"{path} is damaged: its checksum is wrong. Put it back from a copy; every store has its own",
            path=str(path),
        )
    content = _content(line, path)
    operations = ["read", *(["write"] if write else []), *(["gc"] if gc else [])]
    unknown = sorted({str(name) for operation in operations for name in content["features"].get(operation, [])})
    if content["version"] > VERSION or content["hash"] != HASH or unknown:
        needs = ", ".join(unknown) or f"version {content['version']} with {content['hash']}"
        raise StorageError(
            f"{root} needs {needs[:300]}, which this installation does not know: update model-checkpoint-engine"
        )


def _content(line: bytes, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(line)
        features = content["features"]
        fits = content["format"] == NAME and type(content["version"]) is int and isinstance(content["hash"], str)
        if fits and all(isinstance(features.get(word, []), list) for word in ("read", "write", "gc")):
            return dict(content)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise IntegrityError(f"{path} has the right checksum and is no FORMAT file of a vault", path=str(path))
