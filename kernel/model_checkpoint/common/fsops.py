"""Every file-system call of the engine, in one object that a test can stand in front of.

The order in which a file becomes durable is always the same::

    write to tmp -> fsync(file) -> rename or link into place -> fsync(directory)

A crash before the rename leaves a file under ``tmp/`` that the next opener sweeps; a crash after it leaves the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.common.locks import HeldLock, take_flock
from model_checkpoint.errors import (
    CheckpointExistsError,
    IntegrityError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)

T = TypeVar("T")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.05
PUBLISH_TIMEOUT_S = 60.0
"""How long to wait for another live process that is giving a file the same name. It takes milliseconds."""


class FsOps:
    """The calls themselves. Subclass it to count, delay, fail or record them."""

    def make_dirs(self, path: Path) -> None:
        """Create `path` and its parents, each made durable in its own parent."""
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            try:
                os.mkdir(directory)
            except FileExistsError:  # another process was faster, or something that is no directory is in the way
                if not directory.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from None
            self.sync_dir(directory.parent)

    def create(self, path: Path) -> IO[bytes]:
        """Open a new file for writing, unbuffered. Raises FileExistsError."""
        return open(path, "xb", buffering=0)

    def write_at(self, file: IO[bytes], data: memoryview, offset: int) -> int:
        """Write at `offset`, perhaps only a part of `data`; return how many bytes. See `write_all_at`."""
        return os.pwrite(file.fileno(), data, offset)

    def bypass_cache(self, file: IO[bytes], on: bool) -> bool:
        """Let writes go to the device without the page cache, or through it again; return whether they now bypass it.

        What bypasses it must be whole pages: memory, offset and length. A file system may refuse them all the same.
        """
        flag = getattr(os, "O_DIRECT", 0)
        if not flag:
            return False
        import fcntl

        flags = fcntl.fcntl(file.fileno(), fcntl.F_GETFL)
        try:
            fcntl.fcntl(file.fileno(), fcntl.F_SETFL, flags | flag if on else flags & ~flag)
        except OSError:
            return False
        return on

    def truncate(self, file: IO[bytes], nbytes: int) -> None:
        """Cut a file that is open for writing to `nbytes`."""
        os.ftruncate(file.fileno(), nbytes)

    def make_read_only(self, file: IO[bytes]) -> None:
        """Take away everybody's right to write to a file; who has it open still may."""
        os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode) & ~0o222)

    def free_nbytes(self, path: Path) -> int | None:
        """Return how many bytes can still be written where `path` is, or None where nobody can tell."""
        try:
            return shutil.disk_usage(path).free
        except OSError:
            return None

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

    def open_regular(self, path: Path) -> IO[bytes]:
        """Open a file for reading, unbuffered. Raises FileNotFoundError, and ``IntegrityError`` for what is no file.

        A symbolic link is not followed, and opening a FIFO that nobody writes to does not wait.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link; a socket or a device without a driver
                raise _no_file(path) from None
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return open(descriptor, "rb", buffering=0)
        os.close(descriptor)
        raise _no_file(path)

    def read(self, path: Path, *, limit: int) -> bytearray:
        """Return the whole file as memory that may be written to.

        Raises FileNotFoundError, and ``IntegrityError`` for what is no file or longer than `limit` bytes, before any
        memory is taken.
        """
        with self.open_regular(path) as file:
            nbytes = os.fstat(file.fileno()).st_size
            if nbytes > limit:
                raise IntegrityError(
                    f"{path} is {nbytes} bytes long where at most {limit} are expected; it was left as it is",
                    path=str(path),
                    expected=str(limit),
                    actual=str(nbytes),
                )
            data = bytearray(nbytes)
            filled = 0
            with memoryview(data) as view:
                while filled < nbytes and (count := file.readinto(view[filled:])):  # type: ignore[attr-defined]
                    filled += count
            del data[filled:]
        return data

    def list_dir(self, path: Path) -> list[str]:
        """Return the names in a directory, sorted; none if there is no such directory."""
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, path: Path) -> int | None:
        """Return the length in bytes, or None where there is no such file."""
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return None

    def identity(self, path: Path) -> tuple[int, int] | None:
        """Return what two names of one file have in common, or None where there is nothing of that name."""
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_dev, found.st_ino

    def lock(self, path: Path, *, timeout_s: float = 0.0) -> HeldLock | None:
        """Take the lock on `path`, creating the file; return None where another holds it for `timeout_s` seconds.

        Whoever lets go may remove the file first. Raises ``StorageError`` where the file system has no locks.
        """
        watch, pause_s = Stopwatch(), _FIRST_PAUSE_S
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
            held = HeldLock(os.open(path, flags, 0o666), path)
            try:
                taken = take_flock(held.descriptor, path)
                opened = os.fstat(held.descriptor)
                # the holder before us may have removed the file: then others lock a new one, and ours is nobody's
                if taken and self.identity(path) == (opened.st_dev, opened.st_ino):
                    return held
            except BaseException:
                held.close()
                raise
            held.close()
            if not taken:
                if watch.elapsed_s >= timeout_s:
                    return None
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


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


def write_all_at(fs: FsOps, file: IO[bytes], data: memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    done = 0
    while done < data.nbytes:
        done += fs.write_at(file, data[done:], offset + done)


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


@contextlib.contextmanager
def locked(fs: FsOps, path: Path, *, timeout_s: float = PUBLISH_TIMEOUT_S) -> Iterator[None]:
    """Hold the lock on `path`, which exists only for so long. Raises ``StorageError`` after `timeout_s` seconds."""
    held = fs.lock(path, timeout_s=timeout_s)
    if held is None:
        raise StorageError(
            f"another process has held {path} for {timeout_s:.0f} s: it may be stopped or hang; end it and try again"
        )
    try:
        yield
    finally:
        try:
            with contextlib.suppress(OSError):  # an unlocked file in the way stops nobody
                fs.unlink(path)
        finally:
            held.close()


def publish_new(fs: FsOps, temp: Path, target: Path) -> None:
    """Give `temp` its final name, durably, unless that name is taken: then ``CheckpointExistsError``.

    A hard link is exclusive and atomic, and leaves `temp` for the caller to remove. Where the file system has none,
    `temp` is renamed, under a lock that all publishers of that name take, since a rename would replace what is there.
    """
    is_renamed = False
    try:
        fs.link(temp, target)
    except OSError as error:
        if (published := fs.identity(target)) is not None and published == fs.identity(temp):
            pass  # a file server linked it and its answer was lost: the repeated request found the name taken
        elif isinstance(error, FileExistsError):
            raise _taken(target) from None
        elif error.errno in _NO_LINKS:
            with locked(fs, target.with_name(f".{target.name}.lock")):
                if fs.identity(target) is not None:
                    raise _taken(target) from None
                fs.rename(temp, target)
                is_renamed = True
        else:
            raise
    try:
        fs.sync_dir(target.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # whoever is told that this failed must not find it there
            if is_renamed:
                fs.rename(target, temp)
            else:
                fs.unlink(target)
        raise


def replace_file(fs: FsOps, target: Path, data: bytes) -> None:
    """Put `data` at `target`, atomically and durably, whatever was there before."""
    temp = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    write_temp(fs, temp, lambda out: out.write(memoryview(data)))
    try:
        fs.rename(temp, target)
    except BaseException:
        with contextlib.suppress(OSError):
            fs.unlink(temp)
        raise
    fs.sync_dir(target.parent)


def _no_file(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path} is no regular file but a directory, symbolic link, pipe, socket or device; nothing was read from it",
        path=str(path),
    )


def _taken(target: Path) -> CheckpointExistsError:
    return CheckpointExistsError(f"{target} exists already; a stored checkpoint is never overwritten")


@contextlib.contextmanager
def typed_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into the engine's, naming the path and what to do."""
    try:
        yield
    except (StorageError, CheckpointExistsError):
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


@contextlib.contextmanager
def typed_read_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says while `path` is read into ``StorageError``, naming it."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"reading {path} failed: {error.strerror or error}. It was left as it is") from error
    except MemoryError as error:
        raise StorageError(f"reading {path} failed: it does not fit into memory") from error
