"""What lies at a path that Lightning knows: one line that names the checkpoint in the store.

::

    last.ckpt          {"mce": 1, "checkpoint": "fit-1-e0002-s000030-9c", ...}
    .last.ckpt.mce     the same line, once last.ckpt itself has become a file of Lightning's own format

A pointer is a few hundred bytes and appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from model_checkpoint.errors import ConfigurationError

_BEGIN = b'{"mce": 1, '
_MAX_NBYTES = 4096
_HINT = (
    "the bytes are in the store; MceCheckpoint.best_model_path, MceCheckpointIO.materialise(path) and"
    " kernel.checkpoint_path(id) give a file"
)


@dataclass(frozen=True, slots=True)
class Pointer:
    """The checkpoint that a path stands for."""

    checkpoint_id: str
    run: str


def local_path(path: object) -> Path:
    """Return an absolute path on this machine. Raises ``ConfigurationError`` for a URL."""
    text = os.fspath(path)  # type: ignore[call-overload]
    if not isinstance(text, str):
        raise ConfigurationError(f"{path!r} is no path in text")
    if "://" in text:
        raise ConfigurationError(
            f"{text} is a URL, and the pointers to checkpoints are files of this machine: give a local dirpath"
        )
    return Path(os.path.abspath(text))


def sidecar(path: Path) -> Path:
    """Return where the pointer lies when a file of Lightning's format has taken its place."""
    return path.with_name(f".{path.name}.mce")


def read(path: Path) -> Pointer | None:
    """Return what a path stands for; None where nothing of ours is there."""
    for place in (path, sidecar(path), sidecar(path.resolve())):
        try:
            with place.open("rb") as file:
                line = file.read(_MAX_NBYTES) if file.read(len(_BEGIN)) == _BEGIN else b""
            found = json.loads(_BEGIN + line) if line else {}
            if isinstance(found.get("checkpoint"), str):
                return Pointer(found["checkpoint"], str(found.get("run", "")))
        except (OSError, ValueError):  # no file, a folder, a file of something else
            continue
    return None


def write(path: Path, pointer: Pointer) -> None:
    """Put a pointer at a path, in place of whatever was there."""
    words = {"checkpoint": pointer.checkpoint_id, "run": pointer.run, "hint": _HINT}
    publish(path, _BEGIN + json.dumps(words).encode()[1:] + b"\n")
    with contextlib.suppress(FileNotFoundError):
        sidecar(path).unlink()


def step_aside(path: Path, pointer: Pointer, temp: Path) -> None:
    """Let the file `temp` take the place of a pointer, which stays beside it."""
    words = {"checkpoint": pointer.checkpoint_id, "run": pointer.run}
    publish(sidecar(path), _BEGIN + json.dumps(words).encode()[1:] + b"\n")
    os.replace(temp, path)
    _sync(path.parent)


def remove(path: Path) -> None:
    """Remove a pointer, and the file that took its place."""
    for place in (path, sidecar(path)):
        with contextlib.suppress(FileNotFoundError):
            place.unlink()


def publish(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with temp.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
