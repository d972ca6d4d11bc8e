"""Every file-system call of the engine, in one object that a test can stand in front of.

The order in which a file becomes durable is always the same::

    write to tmp -> fsync(file) -> rename or link into place -> fsync(directory)

A crash before the rename leaves a file under ``tmp/`` that the next opener sweeps; a crash after it leaves the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from model_checkpoint.errors import (
    CheckpointExistsError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)

T = TypeVar("T")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class FsOps:
    """The calls themselves. Subclass it to count, delay, fail or record them."""

    def make_dirs(self, path: Path) -> None:
        """Create `path` and its parents, each made durable in its own parent."""
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory)
            self.sync_dir(directory.parent)

    def create(self, path: Path) -> IO[bytes]:
        """Open a new file for writing, unbuffered. Raises FileExistsError."""
        return open(path, "xb", buffering=0)

    def sync_file(self, file: IO[bytes]) -> None:
        """Make a file's bytes durable."""
        os.fsync(file.fileno())

    def sync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        if os.name == "nt":  # a directory cannot be opened there, and NTFS journals names itself
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (
                errno.EINVAL,
                errno.ENOTSUP,
            ):  # some network file systems have no such call
                raise
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Move `source` over `target` atomically."""
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Give the file a second name, atomically. Raises FileExistsError."""
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a name; one that is gone already is fine."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_dir(self, path: Path) -> None:
        """Remove an empty directory; one that is gone already is fine."""
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)

    def read(self, path: Path) -> bytearray:
        """Return the whole file as memory that may be written to."""
        with open(path, "rb", buffering=0) as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            view, filled = memoryview(data), 0
            while filled < len(data):
                count = file.readinto(view[filled:])
                if not count:
                    break
                filled += count
            view.release()
            del data[filled:]
            data += file.read() or b""  # it may have grown since it was measured
        return data

    def list_dir(self, path: Path) -> list[str]:
        """Return the names in a directory, sorted; none if there is no such directory."""
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int | None:
        """Return the length in bytes, or None where there is no such file."""
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return None


class FullWriter:
    """Wraps an unbuffered file so that ``write`` never stops half-way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: memoryview) -> int:
        """Write all of `data` and return its length in bytes."""
        done = 0
        while done < data.nbytes:
            done += self._file.write(data[done:])
        return done


def write_temp(fs: FsOps, path: Path, fill: Callable[[FullWriter], T]) -> T:
    """Create `path`, let `fill` write it, make it durable. On any failure the file is removed again.

    Never calls fsync twice on one descriptor: after a failed one the kernel may have dropped the dirty pages.
    """
    try:
        with fs.create(path) as file:
            result = fill(FullWriter(file))
            fs.sync_file(file)
    except BaseException:
        with contextlib.suppress(OSError):
            fs.unlink(path)
        raise
    return result


def publish_new(fs: FsOps, temp: Path, target: Path) -> None:
    """Give `temp` its final name, durably, unless that name is taken: then ``CheckpointExistsError``.

    A hard link is exclusive and atomic. Where the file system has none, the name is claimed first and renamed over.
    """
    try:
        fs.link(temp, target)
    except FileExistsError:
        raise CheckpointExistsError(f"{target} exists already; a stored checkpoint is never overwritten") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if fs.size(target) is not None:
            raise CheckpointExistsError(f"{target} exists already; a stored checkpoint is never overwritten") from None
        fs.rename(temp, target)
    fs.sync_dir(target.parent)
    fs.unlink(temp)


def replace_file(fs: FsOps, target: Path, data: bytes) -> None:
    """Put `data` at `target`, atomically and durably, whatever was there before."""
    temp = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    write_temp(fs, temp, lambda out: out.write(memoryview(data)))
    fs.rename(temp, target)
    fs.sync_dir(target.parent)


@contextlib.contextmanager
def typed_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into the engine's, naming the path and what to do."""
    try:
        yield
    except StorageError:
        raise
    except CheckpointExistsError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(
                f"no space left while {doing} {path}: {error.strerror}. What was begun was removed; earlier checkpoints"
                " are intact; free some space or choose another checkpoint_dir"
            ) from error
        if error.errno in _READ_ONLY:
            raise StorageReadOnlyError(
                f"not allowed to write while {doing} {path}: {error.strerror}. Choose another checkpoint_dir"
                " (argument or MCE_CHECKPOINT_DIR) or change the permissions"
            ) from error
        raise StorageError(f"{doing} {path} failed: {error.strerror or error}") from error
