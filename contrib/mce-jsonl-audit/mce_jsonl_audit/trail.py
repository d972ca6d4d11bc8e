"""Appends lines to a trail that several processes write to, so that it stays one chain whatever happens to any of them.

::

    lock -> where does the chain end? -> seal what a killed writer left -> rotate -> append -> sync -> unlock

Nothing is kept open or in memory between two lines but where the last one ended, and that is believed only while the
file is as long as it was then. A fork, a kill, another writer or another machine's rotation therefore change nothing.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import socket
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mce_jsonl_audit.lines import BEFORE_ALL, BEGIN, EVENT, MAX_LINE_NBYTES, SEAL, START, Link, decoded, encoded
from model_checkpoint.common.clock import now_s
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import StorageError

FORMAT = "mce-audit/1"
_BACK_NBYTES = 4 * MAX_LINE_NBYTES
"""How far back the end of the chain is looked for where the last line is damaged."""
_MAX_TORN_NBYTES = 64 * 1024 * 1024


class Trail:
    """The file at `path`, and those that it was rotated into.

    Args:
        durable: make each line durable before `append` returns.
        max_nbytes: begin a new file when this one is as long; 0 for never.
        lock_timeout_s: how long to wait for other writers.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = False,
        max_nbytes: int = 0,
        lock_timeout_s: float = 2.0,
        fs: FsOps | None = None,
    ) -> None:
        self.path, self.durable, self.max_nbytes = path, durable, max_nbytes
        self._lock_timeout_s, self._fs = lock_timeout_s, fs or FsOps()
        self._lock_path = path.with_name(f".{path.name}.lock")
        self._end: tuple[tuple[int, int, int], Link] | None = None
        """Device, inode and length of the file when we last wrote to it, and our line there."""

    def append(self, *contents: Mapping[str, Any]) -> Link:
        """Append a line for each of `contents`, all or none, and return the place of the last one.

        Raises OSError, ``StorageError`` where others hold the lock for too long or the file is no trail.
        """
        held = self._hold()
        try:
            descriptor = self._open()
            try:
                return self._append(descriptor, contents)
            finally:
                os.close(descriptor)
        finally:
            held.close()

    def _hold(self) -> Any:
        try:
            held = self._fs.lock(self._lock_path, timeout_s=self._lock_timeout_s)
        except FileNotFoundError:
            self._fs.make_dirs(self.path.parent)
            held = self._fs.lock(self._lock_path, timeout_s=self._lock_timeout_s)
        if held is None:
            raise StorageError(
                f"the audit trail {self.path} was locked by another process for {self._lock_timeout_s:g} s:"
                " it may be stopped or hang"
            )
        return held

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self.path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StorageError(f"{self.path} is no regular file, so no audit trail is written there: name another path")
        return descriptor

    def _append(self, descriptor: int, contents: tuple[Mapping[str, Any], ...]) -> Link:
        found = os.fstat(descriptor)
        known = self._end is not None and self._end[0] == (found.st_dev, found.st_ino, found.st_size)
        link, torn = (self._end[1], b"") if known and self._end else self._chain_end(descriptor, found.st_size)
        if self.max_nbytes and found.st_size >= self.max_nbytes and not torn:
            return self._rotate(descriptor, link, contents)
        lines = [] if found.st_size else [_note(BEGIN, **self._begins(link))]
        if torn:
            lines.append(_note(SEAL, nbytes=len(torn), sha256=hashlib.sha256(torn).hexdigest()))
        data = b"\n" if torn else b""
        for content in (*lines, *contents):
            line, link = encoded(content, link)
            data += line
        self._write(descriptor, data, found.st_size)
        if not found.st_size and self.durable:
            self._fs.sync_dir(self.path.parent)
        self._end = (found.st_dev, found.st_ino, found.st_size + len(data)), link
        return link

    def _write(self, descriptor: int, data: bytes, size: int) -> None:
        """Write all of `data`, or nothing: half a line is taken back while the lock is still ours."""
        done = 0
        try:
            while done < len(data):
                done += os.write(descriptor, data[done:])
            if self.durable:
                os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise

    def _chain_end(self, descriptor: int, size: int) -> tuple[Link, bytes]:
        """Return the last line's place, and the bytes behind it that no line break ends."""
        if size == 0:
            older = rotated(self.path)
            return (_last_link(older[-1]) if older else BEFORE_ALL), b""
        start = max(0, size - _BACK_NBYTES)
        tail = os.pread(descriptor, size - start, start)
        while (
            b"\n" not in tail and start > 0 and len(tail) < _MAX_TORN_NBYTES
        ):  # a power cut leaves zeros, more than any line is long
            step = min(start, _BACK_NBYTES)
            start -= step
            tail = os.pread(descriptor, step, start) + tail
        whole, _, torn = tail.rpartition(b"\n")
        for raw in reversed(whole.split(b"\n")):
            if (line := decoded(raw)) is not None:
                return line.link, torn
        if start == 0 and not whole and START.startswith(torn[: len(START)]):  # killed within the very first line
            return BEFORE_ALL, torn
        raise StorageError(
            f"{self.path} is no audit trail, or its last {len(tail)} bytes are damaged; it was left as it is:"
            " name another path, or move it away"
        )

    def _begins(self, link: Link) -> dict[str, Any]:
        older = rotated(self.path)
        return {"format": FORMAT, "continues": older[-1].name if older and link != BEFORE_ALL else None}

    def _rotate(self, descriptor: int, link: Link, contents: tuple[Mapping[str, Any], ...]) -> Link:
        older = rotated(self.path)
        number = int(_number(older[-1].name)) + 1 if older else 1
        os.fsync(descriptor)
        self._fs.rename(self.path, rotated_name(self.path, number))
        self._fs.sync_dir(self.path.parent)
        self._end = None
        fresh = self._open()
        try:
            return self._append(fresh, contents)
        finally:
            os.close(fresh)


def content(kind: str, event: str, at_s: float, **more: Any) -> dict[str, Any]:
    """Return what a line says, with the actor and everything else filled in."""
    at = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    base = {"actor": actor(), "at": at, "checkpoint_id": None, "event": event, "fields": {}, "kind": kind}
    return {**base, "outcome": "ok", "run": None, **more}


def _note(kind: str, **fields: Any) -> dict[str, Any]:
    return content(kind, "", now_s(), fields=fields)


def actor() -> dict[str, Any]:
    """Return who writes: user, host and process."""
    if not _who:
        try:
            import pwd  # not what the environment says: anybody can set USER

            _who["user"] = pwd.getpwuid(os.geteuid()).pw_name
        except ImportError:
            _who["user"] = getpass.getuser()
        except KeyError:  # a container's user without a name
            _who["user"] = str(os.geteuid())
        _who["host"] = socket.gethostname()
    return {**_who, "pid": os.getpid()}


_who: dict[str, Any] = {}


def rotated_name(path: Path, number: int) -> Path:
    """Return ``audit.000007.jsonl`` for ``audit.jsonl``."""
    return path.with_name(f"{path.stem}.{number:06d}{path.suffix}")


def _number(name: str) -> str:
    found = re.search(r"\.(\d{6,9})(\.[^.]*)?$", name)
    return found[1] if found else "0"


def rotated(path: Path) -> list[Path]:
    """Return the files that `path` was rotated into, the oldest first."""
    pattern = re.compile(rf"{re.escape(path.stem)}\.(\d{{6,9}}){re.escape(path.suffix)}")
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    found = sorted((int(match[1]), name) for name in names if (match := pattern.fullmatch(name)))
    return [path.with_name(name) for _, name in found]


def _last_link(path: Path) -> Link:
    with FsOps().open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        tail = os.pread(file.fileno(), min(size, _BACK_NBYTES), max(0, size - _BACK_NBYTES))
    for raw in reversed(tail.split(b"\n")):
        if (line := decoded(raw)) is not None:
            return line.link
    raise StorageError(f"{path} ends in no line of an audit trail, so nothing can follow it: move it away")


__all__ = ["EVENT", "FORMAT", "Trail", "actor", "content", "rotated", "rotated_name"]
