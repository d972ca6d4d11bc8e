"""Writes one new pack: of the tensors that are given, those whose content is stored nowhere yet.

Every tensor is digested with xxh3-128 first, at the speed of memory. Where that is what the process stored under the
same name last time, its identity is known, and no SHA-256 is computed. Where no stored tensor has it, the content is
certainly new: it is copied, and the copy digested and written, in one go. Only what may or may not be stored is
digested with SHA-256 before anybody knows whether it must be written.

Threads take tensors in their order in the file and get their place in that order; everything else runs beside one
another.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import xxhash

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.common.parallel import Stop, in_parallel
from model_checkpoint.contracts import Buffer
from model_checkpoint.errors import StorageFullError, TornSnapshotError
from model_checkpoint.storage.safetensors_file import DTYPES
from model_checkpoint.storage.vault.pack import (
    EMPTY_NBYTES,
    PAGE,
    PackHeader,
    PackTensor,
    compose,
    entry_room,
    header_room,
    is_tensor_name,
)
from model_checkpoint.storage.vault.segments import PIECE_NBYTES, BlockPool, BrokenOff, Bytes, Segments, write_pages

SMALL_NBYTES = 4 * 1024 * 1024
"""Less than this is written by the calling thread, through the page cache."""
_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Identity:
    """The digests and the length of a tensor's bytes."""

    sha256: str
    xxh3: str
    nbytes: int


class Lookup(Protocol):
    """Tells what is stored already."""

    def may_hold(self, xxh3: str, nbytes: int) -> bool:
        """Say whether content of that fast digest may be stored."""

    def holds(self, sha256: str, nbytes: int) -> bool:
        """Say whether that content is stored, and may be relied on from now on."""


@dataclass(frozen=True, slots=True)
class Written:
    """What `PackWriter.write` did."""

    header: PackHeader | None
    """Of the new pack; None where everything was stored already, and there is none."""
    identities: Mapping[int, Identity]
    """By the position of the buffer. Those that are missing had no room in this pack: they belong into another one."""


class PackWriter:
    """Writes packs, one at a time or several at once; keeps the memory that it copies into."""

    def __init__(self, fs: FsOps) -> None:
        self._fs = fs
        self._pool = BlockPool()

    def write(
        self,
        path: Path,
        buffers: Mapping[int, Buffer],
        lookup: Lookup,
        *,
        remembered: Mapping[str, Identity] = {},
        expected_new: int | None = None,
    ) -> Written:
        """Write the new ones of `buffers` to `path`, durably; return their identities and those of the others.

        `remembered` are the identities of an earlier save, by the buffers' names. `expected_new` is how many are likely
        to be new: the header has room for so many. Raises OSError, ``StorageFullError``; ``TornSnapshotError`` where a
        buffer changes meanwhile. Nothing is left at `path` then.
        """
        jobs = [_Job(self._fs, self._pool, path, buffers, lookup, remembered, expected_new) for _ in range(2)]
        try:
            return jobs[0].run()
        except (_UnsyncedError, TornSnapshotError):
            return jobs[1].run()  # once more, into another file: the pages of the first may be gone without a trace

    def close(self) -> None:
        """Let go of the memory."""
        self._pool.clear()


class _UnsyncedError(OSError):
    """The device did not take what was written."""


@dataclass(slots=True)
class _New:
    """A tensor that goes into the pack."""

    buffer: Buffer
    begin: int
    done: threading.Event
    identity: Identity | None = None


class _Job:
    def __init__(
        self,
        fs: FsOps,
        pool: BlockPool,
        path: Path,
        buffers: Mapping[int, Buffer],
        lookup: Lookup,
        remembered: Mapping[str, Identity],
        expected_new: int | None,
    ) -> None:
        self._fs, self._pool, self._path, self._lookup, self._remembered = fs, pool, path, lookup, remembered
        self._order = sorted(buffers.items(), key=lambda item: _rank(item[1]))
        self._nbytes = sum(buffer.nbytes for buffer in buffers.values())
        named = [(buffer.name, buffer.shape) for buffer in buffers.values()]
        self._begin = header_room(named, len(named) if expected_new is None else expected_new)
        self._room = self._begin - EMPTY_NBYTES
        self._end = self._begin
        self._file: IO[bytes] | None = None
        self._segments: Segments | None = None
        self._broken = threading.Event()
        self._cause: BaseException | None = None
        self._turn = threading.Condition()
        self._next = self._placed = 0
        self._new: dict[tuple[str, int], _New] = {}
        self._identities: dict[int, Identity] = {}

    def run(self) -> Written:
        self._check_space()
        try:
            self._work_in_threads()
            header = self._finish() if self._new else None
        except BaseException:
            if self._segments is not None:
                self._segments.abandon()
            self._close()
            with contextlib.suppress(OSError):
                self._fs.unlink(self._path)
            raise
        self._close()
        return Written(header, self._identities)

    def _check_space(self) -> None:
        """Refuse before the first byte what does not fit, as far as that can be told."""
        free = self._fs.free_nbytes(self._path.parent)
        if free is None or free >= self._nbytes + self._begin:
            return
        buffers = [buffer for _, buffer in self._order]
        distinct = {(_xxh3(_bytes(each)), each.nbytes) for each in buffers}
        needed = self._begin + sum(nbytes for xxh3, nbytes in distinct if not self._lookup.may_hold(xxh3, nbytes))
        if needed > free:
            raise StorageFullError(
                f"no space left for {self._path}: {needed} bytes of this checkpoint are not stored yet, and {free} are"
                " free. Nothing was written; earlier checkpoints are intact; free some space or choose another"
                " checkpoint_dir"
            )

    def _work_in_threads(self) -> None:
        threads = min(_MOST_THREADS, (os.cpu_count() or 1) + 2, len(self._order))
        try:
            in_parallel(self._work, threads if self._nbytes >= SMALL_NBYTES else 1, on_stop=self._break_off)
        except BrokenOff:
            raise self._cause or BrokenOff from None

    def _break_off(self) -> None:
        self._broken.set()
        with self._turn:
            self._turn.notify_all()
        for new in list(self._new.values()):
            new.done.set()

    def _work(self, stop: Stop) -> None:
        try:
            while not stop:
                with self._turn:
                    number, self._next = self._next, self._next + 1
                if number >= len(self._order):
                    return
                position, buffer = self._order[number]
                identity = self._store(number, buffer)
                if identity is not None:
                    self._identities[position] = identity
        except BaseException as error:  # Ctrl-C too: the others stop at their next piece
            if not isinstance(error, BrokenOff):
                self._cause = error
            self._break_off()
            raise

    def _store(self, number: int, buffer: Buffer) -> Identity | None:
        """See to it that a buffer is stored; None where this pack has no room for it."""
        source = _bytes(buffer)
        xxh3 = _xxh3(source)
        known = self._known(buffer, source, xxh3)
        with self._in_turn(number):
            if known is not None:
                return known
            twin = self._new.get((xxh3, buffer.nbytes))
            placed = self._place(buffer, (xxh3, buffer.nbytes)) if twin is None else None
        if placed is not None:
            return self._copy(placed, source, xxh3)
        return self._same(twin, buffer, source, xxh3) if twin is not None else None

    def _same(self, twin: _New, buffer: Buffer, source: Bytes, xxh3: str) -> Identity | None:
        """Return the identity of a buffer that has the fast digest of another one in this pack."""
        own = _digests(source)
        if own.xxh3 != xxh3:
            raise _torn(buffer)
        twin.done.wait()
        if self._broken.is_set():
            raise BrokenOff
        return own if own == twin.identity else None  # another content, then not by chance: it gets a pack of its own

    def _known(self, buffer: Buffer, source: Bytes, xxh3: str) -> Identity | None:
        """Return the identity of a buffer that is stored and may be relied on."""
        last = self._remembered.get(buffer.name)
        if last is not None and (last.xxh3, last.nbytes) == (xxh3, buffer.nbytes):
            identity = last
        elif self._lookup.may_hold(xxh3, buffer.nbytes):
            identity = _digests(source)
            if identity.xxh3 != xxh3:
                raise _torn(buffer)
        else:
            return None
        return identity if self._lookup.holds(identity.sha256, identity.nbytes) else None

    @contextlib.contextmanager
    def _in_turn(self, number: int) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: self._placed == number or self._broken.is_set())
            if self._broken.is_set():
                raise BrokenOff
            yield
            self._placed += 1
            self._turn.notify_all()

    def _place(self, buffer: Buffer, key: tuple[str, int]) -> _New | None:
        room = entry_room(buffer.name, buffer.shape)
        if room > self._room:
            return None
        self._room -= room
        if self._segments is None:
            self._file = self._fs.create(self._path)
            if self._nbytes >= SMALL_NBYTES:
                self._fs.bypass_cache(self._file, True)
            self._segments = Segments(self._fs, self._file, self._begin, self._pool, self._broken)
        new = self._new[key] = _New(buffer, self._end, threading.Event())
        self._end += buffer.nbytes
        return new

    def _copy(self, new: _New, source: Bytes, xxh3: str) -> Identity:
        assert self._segments is not None
        full, fast = hashlib.sha256(), xxhash.xxh3_128()

        def digest(piece: memoryview) -> None:
            full.update(piece)
            fast.update(piece)

        self._segments.fill(new.begin, source, digest)
        if fast.hexdigest() != xxh3:
            raise _torn(new.buffer)
        new.identity = Identity(full.hexdigest(), xxh3, new.buffer.nbytes)
        new.done.set()
        return new.identity

    def _finish(self) -> PackHeader:
        assert self._file is not None
        assert self._segments is not None
        self._segments.finish()
        raw, header = compose(_tensors(self._new.values()), self._begin)
        page = mmap.mmap(-1, len(raw))
        page[:] = raw
        write_pages(self._fs, self._file, memoryview(page), 0)
        self._fs.truncate(self._file, header.nbytes)
        self._fs.make_read_only(self._file)
        try:
            self._fs.sync_file(self._file)
        except OSError as error:
            raise _UnsyncedError(error.errno, error.strerror) from error
        return header

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()


def _torn(buffer: Buffer) -> TornSnapshotError:
    return TornSnapshotError(
        f"{buffer.name[:200]!r} changed while it was being saved: another thread writes to it. Nothing was stored; save"
        " between two steps of the training"
    )


def _tensors(new: Collection[_New]) -> list[PackTensor]:
    tensors, taken = [], {each.buffer.name for each in new}
    for number, each in enumerate(sorted(new, key=lambda each: (each.begin, each.buffer.nbytes))):
        buffer, identity, name = each.buffer, each.identity, each.buffer.name
        assert identity is not None
        if not is_tensor_name(name):  # what no header can hold; the manifest keeps the name as it is
            name = f"buffer-{number}"
            while name in taken:
                name += "-"
            taken.add(name)
        dtype, shape = _declared(buffer)
        tensors.append(PackTensor(name, dtype, shape, each.begin, buffer.nbytes, identity.sha256, identity.xxh3))
    return tensors


def _declared(buffer: Buffer) -> tuple[str, tuple[int, ...]]:
    word, nbytes = DTYPES.get(buffer.dtype, ("", 0))
    if word and math.prod(buffer.shape) * nbytes == buffer.nbytes:
        return word, tuple(int(size) for size in buffer.shape)
    return "U8", (buffer.nbytes,)


def _rank(buffer: Buffer) -> tuple[bool, int, int]:
    """Whole pages first, then those with larger elements: every tensor begins at a multiple of its element's size.

    Among equals the largest first: in the end no thread is left alone with a long one.
    """
    elements = math.prod(buffer.shape)
    nbytes = buffer.nbytes // elements if elements else 1
    tiles = nbytes > 0 and nbytes & (nbytes - 1) == 0 and nbytes * elements == buffer.nbytes
    return buffer.nbytes % PAGE != 0, -nbytes if tiles and buffer.nbytes % PAGE else -1, -buffer.nbytes


def _bytes(buffer: Buffer) -> Bytes:
    return np.frombuffer(buffer.data, np.uint8) if buffer.nbytes else np.empty(0, np.uint8)


def _xxh3(data: Bytes) -> str:
    return xxhash.xxh3_128(data.data).hexdigest()


def _digests(source: Bytes) -> Identity:
    """Digest one and the same reading of memory with both."""
    full, fast, copy = hashlib.sha256(), xxhash.xxh3_128(), np.empty(min(PIECE_NBYTES, source.nbytes), np.uint8)
    for begin in range(0, source.nbytes, PIECE_NBYTES):
        part = source[begin : begin + PIECE_NBYTES]
        piece = copy[: part.nbytes]
        np.copyto(piece, part)
        full.update(piece.data)
        fast.update(piece.data)
    return Identity(full.hexdigest(), fast.hexdigest(), source.nbytes)
