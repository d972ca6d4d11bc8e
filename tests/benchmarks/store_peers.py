"""How others save and load the same tensors, and the least that the machine allows."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
import xxhash
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from harness import seconds

Tensors = Mapping[str, torch.Tensor]
CORES = os.cpu_count() or 1
TORCH = f"torch {version('torch')}"
_PIECE = 16 * 1024 * 1024
_numbers = itertools.count()

warnings.filterwarnings("ignore", module="torch.distributed")
logging.getLogger("torch.distributed").setLevel(logging.ERROR)

try:
    SAFETENSORS = f"safetensors {version('safetensors')}"
    from safetensors.torch import load_file, save_file
except PackageNotFoundError:
    SAFETENSORS = ""


@contextlib.contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    """Give a name for one save, and remove what is there afterwards."""
    path = folder / f"peer-{os.getpid()}"
    try:
        yield path
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file durable, or a folder and everything in it."""
    for each in sorted(path.iterdir()) if path.is_dir() else ():
        sync(each)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def saving(save: Callable[[Path], object], folder: Path) -> float:
    """Return how many seconds a durable save into a new file or folder takes."""

    def durably() -> None:
        save(path)
        sync(path)
        sync(folder)

    with _fresh(folder) as path:
        return seconds(durably)


def torch_save(tensors: Tensors) -> Callable[[Path], object]:
    """Return ``torch.save`` of the tensors."""
    return lambda path: torch.save(dict(tensors), path)


def safetensors_save(tensors: Tensors) -> Callable[[Path], object] | None:
    """Return ``save_file`` of the tensors, or None where safetensors is not installed."""
    return (lambda path: save_file(dict(tensors), path)) if SAFETENSORS else None


def dcp_save(tensors: Tensors) -> Callable[[Path], object]:
    """Return ``dcp.save`` of the tensors."""
    return lambda path: dcp.save(dict(tensors), checkpoint_id=path)


def dcp_stager() -> DefaultStager:
    """Return what stages a state for ``dcp.async_save``, with memory that it keeps for the next one."""
    return DefaultStager(StagingOptions(False, False, False, False))


def dcp_stall(tensors: Tensors, folder: Path, stager: DefaultStager | None = None) -> float:
    """Return how many seconds ``dcp.async_save`` takes to return; it is waited for afterwards."""
    uploads = []
    with _fresh(folder) as path:
        blocked = seconds(
            lambda: uploads.append(dcp.async_save(dict(tensors), checkpoint_id=path, async_stager=stager))
        )
        uploads[0].result()
    return blocked


def torch_load(path: Path, into: Tensors) -> None:
    """Read a file of ``torch.save`` and copy it over the tensors."""
    copy(torch.load(path, mmap=False, weights_only=True), into)


def safetensors_load(path: Path, into: Tensors) -> None:
    """Read a file of ``save_file`` and copy it over the tensors."""
    copy(load_file(path), into)


def dcp_load(path: Path, into: Tensors) -> None:
    """Read a folder of ``dcp.save`` straight into the tensors."""
    dcp.load(dict(into), checkpoint_id=path)


def copy(source: Tensors, target: Tensors) -> None:
    """Copy tensors over those of the same names, each on all cores."""
    with torch.no_grad():
        for name, tensor in source.items():
            target[name].copy_(tensor)


def _spread(work: Callable[[int], object], nbytes: int) -> float:
    """Return how many seconds all cores take for `work` on every piece of so many bytes."""
    with ThreadPoolExecutor(CORES) as pool:
        return seconds(lambda: list(pool.map(work, range(0, nbytes, _PIECE))))


def copying(memory: memoryview, target: memoryview) -> float:
    """Return how many seconds all cores take to copy memory over other memory that was touched already."""

    def copy_piece(at: int) -> None:
        target[at : at + _PIECE] = memory[at : at + _PIECE]

    return _spread(copy_piece, memory.nbytes)


def hashing(memory: memoryview, make: Callable[[memoryview], object] = hashlib.sha256) -> float:
    """Return how many seconds all cores take to digest every piece of the memory."""
    return _spread(lambda at: make(memory[at : at + _PIECE]), memory.nbytes)


def fast_hashing(memory: memoryview) -> float:
    """Return the same for xxh3-128."""
    return hashing(memory, xxhash.xxh3_128)


def writing(memory: memoryview, folder: Path) -> float:
    """Return how many seconds the device takes for the memory, past the page cache where the file system can."""
    with _fresh(folder) as path:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_DIRECT", 0))
        except OSError:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        whole = memory.nbytes // 4096 * 4096
        try:
            written = _spread(lambda at: os.pwrite(descriptor, memory[at : min(at + _PIECE, whole)], at), whole)
            return written + seconds(lambda: os.fsync(descriptor))
        finally:
            os.close(descriptor)


def reading(path: Path, memory: memoryview) -> float:
    """Return how many seconds all cores take to read a file's bytes into memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        nbytes = min(os.fstat(descriptor).st_size, memory.nbytes)
        return _spread(lambda at: os.preadv(descriptor, [memory[at : min(at + _PIECE, nbytes)]], at), nbytes)
    finally:
        os.close(descriptor)


def publishing(folder: Path, content: bytes) -> float:
    """Return how many seconds one small file takes: create, write, fsync, rename, fsync of the folder."""

    def publish() -> None:
        temp = folder / "publish.tmp"
        descriptor = os.open(temp, os.O_CREAT | os.O_WRONLY)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temp, folder / f"published-{next(_numbers)}")
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    return seconds(publish)
