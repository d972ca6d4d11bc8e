"""Tensors out of packs, checked while they are read.

A pack is mapped privately: its tensors are memory at once, at any size, and writing to them changes no file. The check
runs over the same memory, on several threads, after the operating system was asked to read it: so a disk that fails is
an error with a name, where touching a mapping would end the process.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import xxhash

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.common.parallel import Stop, in_parallel
from model_checkpoint.errors import IntegrityError
from model_checkpoint.storage.vault.pack import PackHeader, PackTensor, header_nbytes, malformed, parse

BLOCK_NBYTES = 1024 * 1024
PIECE_NBYTES = 4 * 1024 * 1024
_POPULATE_READ = 22
"""``MADV_POPULATE_READ`` of Linux 5.14: reads what is mapped, and says so if it cannot. Python has no name for it."""
_KEPT_NBYTES = 256 * 1024
"""A pack smaller than this is read at once instead of being mapped."""
_SMALL_NBYTES = 4 * 1024 * 1024
_local = threading.local()


class OpenPack:
    """One pack, open for reading. What was read stays valid when the file is removed."""

    def __init__(self, path: Path, file: IO[bytes], header: PackHeader, mapped: bool) -> None:
        self.path, self.header, self._file, self._is_mapped = path, header, file, mapped
        self._mapping = threading.Lock()
        self.tensors = {tensor.sha256: tensor for tensor in header.tensors}
        self._mapped: mmap.mmap | None = None
        self._memory: memoryview | None = None

    def memory(self, tensor: PackTensor) -> memoryview:
        """Return the tensor's bytes: private memory, read from the file as it is touched."""
        if tensor.nbytes == 0:
            return memoryview(bytearray())
        if self._memory is not None:
            return self._memory[tensor.begin : tensor.begin + tensor.nbytes]
        if not self._is_mapped:
            return self._copied(tensor.begin, tensor.nbytes)
        with self._mapping:
            if self._mapped is None:
                self._mapped = _mapped(self._file.fileno(), self.header.nbytes)
        return memoryview(self._mapped)[tensor.begin : tensor.begin + tensor.nbytes]

    def take_into_memory(self) -> None:
        """Read everything and close the file. Raises ``IntegrityError`` where it has become shorter, OSError."""
        self._memory = self._copied(0, self.header.nbytes)
        self._file.close()

    def _copied(self, begin: int, nbytes: int) -> memoryview:
        whole = memoryview(bytearray(nbytes))
        at = 0
        while at < nbytes:
            count = os.preadv(self._file.fileno(), [whole[at:]], begin + at)
            if count == 0:
                raise malformed(self.path, f"it ends at byte {begin + at}")
            at += count
        return whole

    def digest(self, tensor: PackTensor, depth: str) -> str:
        """Return the digest of the tensor's bytes as they are in the file now: SHA-256 if ``full``, else xxh3-128.

        Raises ``IntegrityError`` where the file has become shorter, OSError where the device does not give the bytes.
        """
        made: Any = hashlib.sha256() if depth == "full" else xxhash.xxh3_128()
        view = self.memory(tensor) if self._is_mapped or self._memory is not None else memoryview(b"")
        for begin in range(0, tensor.nbytes, PIECE_NBYTES):
            end = min(begin + PIECE_NBYTES, tensor.nbytes)
            if self._is_in_memory(tensor.begin + begin, end - begin):
                made.update(view[begin:end])
            else:
                for block in _blocks(self._file.fileno(), tensor, begin, end, self.path):
                    made.update(block)
        return str(made.hexdigest())

    def _is_in_memory(self, begin: int, nbytes: int) -> bool:
        """Let the kernel read a part of the mapping now; False where it cannot, or not in this way.

        Then ordinary reads say why: touching memory that cannot be read would end the process.
        """
        if self._memory is not None:
            return True
        if self._mapped is None:
            return False
        start = begin // mmap.PAGESIZE * mmap.PAGESIZE
        try:
            self._mapped.madvise(_POPULATE_READ, start, begin + nbytes - start)
        except (OSError, AttributeError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Close the file; the mapping lives as long as somebody uses its memory."""
        self._mapped = self._memory = None
        self._file.close()


def open_pack(fs: FsOps, path: Path, *, mapped: bool = True) -> OpenPack:
    """Open a pack and check its header. A small one is read at once; of one that is not `mapped`, tensors are copied.

    Raises FileNotFoundError, ``IntegrityError``.
    """
    file = fs.open_regular(path)
    try:
        nbytes = os.fstat(file.fileno()).st_size
        length = header_nbytes(os.pread(file.fileno(), 8, 0), nbytes, path)
        raw = os.pread(file.fileno(), length, 0)
        if len(raw) != length:
            raise malformed(path, "it ends in the middle of its header")
        pack = OpenPack(path, file, parse(raw, nbytes, path), mapped)
        if nbytes < _KEPT_NBYTES:
            pack.take_into_memory()
        return pack
    except BaseException:
        file.close()
        raise


def damaged(wanted: Sequence[tuple[OpenPack, PackTensor]], depth: str) -> list[tuple[OpenPack, PackTensor, str]]:
    """Return the tensors whose bytes are not what their digest says, with the digest that they have.

    `depth` is ``fast`` (xxh3-128) or ``full`` (SHA-256). Large reads are spread over the processor's cores.
    """
    waiting = iter(sorted(wanted, key=lambda item: -item[1].nbytes))  # the largest first: no core ends with it alone
    lock, found = threading.Lock(), list[tuple[OpenPack, PackTensor, str]]()

    def check(stop: Stop) -> None:
        while not stop:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            pack, tensor = item
            actual = pack.digest(tensor, depth)
            if actual != (tensor.sha256 if depth == "full" else tensor.xxh3):
                found.append((pack, tensor, actual))

    nbytes = sum(tensor.nbytes for _, tensor in wanted)
    in_parallel(check, 1 if nbytes < _SMALL_NBYTES else min(os.cpu_count() or 1, 16))
    return found


def _mapped(descriptor: int, nbytes: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(descriptor, nbytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return mmap.mmap(descriptor, nbytes, access=mmap.ACCESS_COPY)


def _blocks(descriptor: int, tensor: PackTensor, begin: int, end: int, path: Path) -> Iterator[memoryview]:
    """Yield the bytes of a part of a tensor, by ordinary reads."""
    block = getattr(_local, "block", None)
    if block is None:
        block = _local.block = memoryview(bytearray(BLOCK_NBYTES))
    at, end = tensor.begin + begin, tensor.begin + end
    while at < end:
        count = os.preadv(descriptor, [block[: min(BLOCK_NBYTES, end - at)]], at)
        if count == 0:
            raise IntegrityError(
                f"{path} is damaged: it ends at byte {at}, in the middle of {tensor.name[:80]!r}", path=str(path)
            )
        yield block[:count]
        at += count
