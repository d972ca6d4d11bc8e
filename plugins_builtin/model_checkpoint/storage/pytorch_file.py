"""The PyTorch format: one ``torch.save`` of a dict that ``torch.load(weights_only=True)`` reads without any help.

::

    {"model_state_dict": {...}, "optimizer_state_dict": {...}, "epoch": 3, "metrics": {...}, ...,   see `pytorch_view`
     "buffers": {"model.conv1.weight": tensor, ...}}

The tensors of the state dicts lie in the memory of those under ``buffers``, so that nothing is stored twice. Reading
takes the buffers only; structure and metadata come from the manifest.
"""

from __future__ import annotations

import ctypes
import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_checkpoint.common.digest import HashingWriter
from model_checkpoint.contracts import Buffer, CheckpointPayload
from model_checkpoint.errors import IntegrityError, MissingExtraError, UnstorableStateError
from model_checkpoint.storage.manifest import Place, StoredBuffer

if TYPE_CHECKING:
    from torch import Tensor

BUFFERS = "buffers"


class PytorchFormat:
    """Writes and reads ``.pt`` files. torch is imported when the first one is written or read."""

    name, suffix = "pytorch", ".pt"

    def write(self, payload: CheckpointPayload, out: HashingWriter) -> Sequence[Place]:
        """Write the file. Raises ``MissingExtraError``, ``UnstorableStateError``."""
        torch = _torch()
        from model_checkpoint.storage.pytorch_view import friendly_view

        tensors = _tensors(payload.buffers)
        sink = _Sink(out)
        try:
            torch.save({**friendly_view(payload, tensors), BUFFERS: tensors}, sink)
        except RecursionError:
            raise UnstorableStateError([("objects", "nested too deeply for pickle; flatten it")]) from None
        except BaseException:
            if sink.failure is not None:  # torch goes on writing, and ends with an error of its own about positions
                raise sink.failure from None
            raise
        return [{} for _ in payload.buffers]

    def read(self, data: bytearray, buffers: Sequence[StoredBuffer], path: Path) -> Sequence[memoryview]:
        """Return the memory of the tensors that torch read. Raises ``IntegrityError``, ``MissingExtraError``."""
        torch = _torch()
        try:
            _check_members(data)
            loaded = torch.load(_View(memoryview(data)), map_location="cpu", weights_only=True)
            tensors = loaded[BUFFERS]
            return [_bytes_of(tensors[entry.name], entry.nbytes) for entry in buffers]
        except MemoryError:
            raise
        except Exception as error:  # the content is not ours, and there is no end to what torch says of it
            raise _malformed(path, f"{type(error).__name__}: {str(error)[:300]}") from error


class _Sink:
    """Remembers what went wrong in it."""

    def __init__(self, out: HashingWriter) -> None:
        self._out = out
        self.failure: BaseException | None = None

    def write(self, data: bytes | memoryview) -> int:
        if self.failure is not None:
            raise self.failure
        try:
            return self._out.write(data)
        except BaseException as error:
            self.failure = error
            raise

    def flush(self) -> None:
        pass


class _View(io.RawIOBase):
    """A file over memory that is there already; BytesIO would copy it."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._view.nbytes}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        piece = self._view[self._at : self._at + len(target)]
        target[: piece.nbytes] = piece
        self._at += piece.nbytes
        return piece.nbytes


def _torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("the storage backend 'pytorch'", "torch") from error
    return torch


def _tensors(buffers: Sequence[Buffer]) -> dict[str, Tensor]:
    """Return the buffers as tensors in the same memory, in their own dtype where torch can save it, else as bytes."""
    import torch

    from model_checkpoint.storage.pytorch_view import DTYPES

    tensors: dict[str, Tensor] = {}
    dtype_at: dict[int, torch.dtype] = {}
    for buffer in buffers:
        dtype = DTYPES.get(buffer.dtype)
        if dtype is None or math.prod(buffer.shape) * dtype.itemsize != buffer.nbytes:
            dtype = None
        if not buffer.nbytes:
            tensors[buffer.name] = torch.empty(buffer.shape if dtype else 0, dtype=dtype or torch.uint8)
            continue
        flat = torch.frombuffer(_writable(buffer.data), dtype=torch.uint8)
        if dtype_at.setdefault(flat.data_ptr(), dtype or torch.uint8) != (dtype or torch.uint8):
            flat = flat.clone()  # the caller gave the same memory twice, and torch saves none under two dtypes
        tensors[buffer.name] = flat.view(dtype).reshape(buffer.shape) if dtype else flat
    return tensors


def _writable(data: memoryview) -> object:
    """Return the memory under a face that lets torch take it: it warns of what is read-only, and only reads here."""
    if not data.readonly:
        return data
    import numpy

    held = numpy.frombuffer(data, dtype=numpy.uint8)
    face = (ctypes.c_ubyte * data.nbytes).from_address(held.ctypes.data)
    face.held = held  # type: ignore[attr-defined]  # the memory lives as long as its face
    return face


def _check_members(data: bytearray) -> None:
    """Refuse what torch never writes: it would inflate a compressed member to any size."""
    with zipfile.ZipFile(_View(memoryview(data))) as archive:
        members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        raise ValueError("it has compressed or encrypted members")
    if sum(member.file_size for member in members) > len(data):
        raise ValueError("its members are larger than the file")


def _bytes_of(tensor: object, nbytes: int) -> memoryview:
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise TypeError("a buffer is no plain tensor")
    if not tensor.is_contiguous() or tensor.numel() * tensor.element_size() != nbytes:
        raise ValueError(f"a buffer holds {tensor.numel() * tensor.element_size()} bytes, not {nbytes}")
    if not nbytes:
        return memoryview(bytearray())
    return memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)


def _malformed(path: Path, what: str) -> IntegrityError:
    return IntegrityError(f"{path} has the right checksum and is no file that was ever written: {what}", path=str(path))
