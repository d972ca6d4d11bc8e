"""The files of the safetensors backend as the library itself opens them, and as nobody should write them."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from model_checkpoint.common.digest import HashingWriter
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import JSON, Buffer, CheckpointPayload
from model_checkpoint.errors import IntegrityError, StorageError
from model_checkpoint.storage import safetensors_file
from model_checkpoint.storage.file_store import FileStore
from model_checkpoint.storage.manifest import StoredBuffer
from model_checkpoint.storage.safetensors import open_safetensors
from model_checkpoint.storage.safetensors_file import DTYPES, SafetensorsFormat
from model_checkpoint.testing.storage_samples import BUFFER_NAMES, awkward_payload, buffer, payload


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    opened = open_safetensors(tmp_path / "store", FsOps())
    assert isinstance(opened, FileStore)
    return opened


def file_of(store: FileStore, *buffers: Buffer, metadata: dict[str, JSON] | None = None) -> Path:
    store.write(CheckpointPayload("one", {"objects": {}}, buffers, metadata or {}))
    path = store.file_path("one")
    assert path is not None
    return path


def header_of(path: Path) -> tuple[dict[str, dict[str, object]], int]:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), 8 + length


def test_torch_tensors_come_out_as_they_are(store: FileStore) -> None:
    torch.manual_seed(0)
    tensors = {
        f"model.{word}.{len(shape)}": torch.randn(shape).to(getattr(torch, word))
        for word in DTYPES
        for shape in ((), (5,), (0, 2), (2, 3, 4))
    }
    stored = [
        Buffer(name, str(t.dtype).removeprefix("torch."), tuple(t.shape), memoryview(raw(t)))
        for name, t in tensors.items()
    ]
    loaded = safetensors.torch.load_file(file_of(store, *stored))
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert raw(loaded[name]) == raw(tensor)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def test_numpy_opens_what_numpy_knows(store: FileStore) -> None:
    known = [word for word in DTYPES if hasattr(np, word)]
    arrays = {word: np.arange(6).reshape(2, 3).astype(word) for word in known}
    stored = [Buffer(word, word, (2, 3), memoryview(arrays[word].tobytes())) for word in known]
    loaded = safetensors.numpy.load_file(file_of(store, *stored))
    for word in known:
        assert loaded[word].dtype == arrays[word].dtype
        assert np.array_equal(loaded[word], arrays[word])


def test_every_file_opens_whatever_is_in_it(store: FileStore) -> None:
    one = awkward_payload("awkward")
    store.write(one)
    path = store.file_path("awkward")
    assert path is not None
    loaded = safetensors.torch.load_file(path)
    assert {name: raw(tensor) for name, tensor in loaded.items()} == {b.name: bytes(b.data) for b in one.buffers}


def test_a_dtype_that_the_format_lacks_is_kept_as_bytes(store: FileStore) -> None:
    loaded = safetensors.torch.load_file(
        file_of(store, buffer("z", "complex128", (2, 2)), buffer("s", "of tomorrow", ()))
    )
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in loaded.items()} == {
        "z": (torch.uint8, (64,)),
        "s": (torch.uint8, (3,)),
    }


def test_a_shape_that_does_not_fit_the_bytes_is_kept_as_bytes(store: FileStore) -> None:
    wrong = replace(buffer("w", "float32", (2, 2)), shape=(1, 2))
    loaded = safetensors.torch.load_file(file_of(store, wrong))
    assert loaded["w"].dtype == torch.uint8
    assert store.read("one").buffers[0].shape == (1, 2)


def test_tensors_are_called_by_their_names_unless_no_file_can_hold_them(store: FileStore) -> None:
    buffers = [buffer(name, "float32", (2,), seed=number) for number, name in enumerate(BUFFER_NAMES)]
    loaded = safetensors.torch.load_file(file_of(store, *buffers))
    assert len(loaded) == len(BUFFER_NAMES)
    renamed = {name for name in BUFFER_NAMES if name not in loaded}
    assert renamed == {"\ud800", "\ud83d\ude00", "__metadata__", "x" * 10_000}
    for each in buffers:
        if each.name not in renamed:
            assert raw(loaded[each.name]) == bytes(each.data)
    assert {raw(tensor) for tensor in loaded.values()} == {bytes(each.data) for each in buffers}


def test_the_file_says_which_checkpoint_it_is(store: FileStore) -> None:
    path = file_of(store, metadata={"epoch": 3, "step": 70, "run": "x"})
    with safetensors.safe_open(path, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "checkpoint_id": "one", "epoch": "3", "step": "70"}


def test_every_tensor_begins_at_a_multiple_of_its_element(store: FileStore) -> None:
    one = awkward_payload("awkward")
    path = file_of(store, *one.buffers)
    header, begin = header_of(path)
    assert begin % 64 == 0
    for each in one.buffers:
        size = each.nbytes // max(1, np.prod(each.shape, dtype=int))
        if each.dtype != "of tomorrow" and each.nbytes:
            assert header[each.name]["data_offsets"][0] % size == 0  # type: ignore[index]
    for each in store.read("one").buffers:
        if each.dtype in DTYPES and each.nbytes:
            address = np.frombuffer(each.data, np.uint8).ctypes.data
            assert address % DTYPES[each.dtype][1] == 0


def test_what_is_read_lies_in_one_piece_of_memory(store: FileStore) -> None:
    one = payload("one")
    store.write(one)
    read = store.read("one").buffers
    assert len({id(each.data.obj) for each in read}) == 1
    assert isinstance(read[0].data.obj, bytearray)


def test_writing_and_reading_take_no_memory_for_copies(store: FileStore) -> None:
    big = Buffer("w", "float32", (16 * 2**20,), memoryview(bytearray(64 * 2**20)))
    tracemalloc.start()
    try:
        file_of(store, big)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.reset_peak()
        store.read("one")
        assert tracemalloc.get_traced_memory()[1] < 65 * 2**20
        tracemalloc.reset_peak()
        assert store.verify("one").ok
        assert tracemalloc.get_traced_memory()[1] < 18 * 2**20
    finally:
        tracemalloc.stop()


def test_more_tensors_than_a_header_may_name_are_an_error(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors_file, "MAX_HEADER_NBYTES", 10_000)
    buffers = [buffer(f"tensor number {number}", "float32", ()) for number in range(200)]
    with pytest.raises(StorageError, match=r"the 200 tensors of one need a header of .*storage_backend='pytorch'"):
        file_of(store, *buffers)
    assert list(store.list_ids()) == []


def written(*buffers: Buffer) -> tuple[bytearray, list[StoredBuffer]]:
    """Return a file and what its manifest says of it."""
    sink = io.BytesIO()
    places = SafetensorsFormat().write(CheckpointPayload("one", {}, buffers, {}), HashingWriter(sink))
    entries = [
        StoredBuffer(b.name, b.dtype, b.shape, b.nbytes, place) for b, place in zip(buffers, places, strict=True)
    ]
    return bytearray(sink.getvalue()), entries


BUFFERS = (buffer("a", "float64", (3,)), buffer("empty", "int8", (0,)), buffer("b", "float32", (2,)))


def test_what_was_written_can_be_read() -> None:
    data, entries = written(*BUFFERS)
    assert [bytes(view) for view in SafetensorsFormat().read(data, entries, Path("f"))] == [b.data for b in BUFFERS]


@pytest.mark.parametrize("move", [-1, 1, -(2**62), 2**62, 8])
def test_a_tensor_in_another_place_is_refused(move: int) -> None:
    data, entries = written(*BUFFERS)
    for index, entry in enumerate(entries):
        offset = entry.place["offset"]
        assert isinstance(offset, int)
        wrong = [*entries]
        wrong[index] = replace(entry, place={"offset": offset + move})
        with pytest.raises(IntegrityError, match=r"name\.safetensors has the right checksum and is no file"):
            SafetensorsFormat().read(data, wrong, Path("name.safetensors"))


@pytest.mark.parametrize("place", [{}, {"offset": None}, {"offset": "8"}, {"offset": 8.0}, {"offset": True}])
def test_a_tensor_without_a_place_is_refused(place: dict[str, JSON]) -> None:
    data, entries = written(*BUFFERS)
    with pytest.raises(IntegrityError, match="no offset for 'a'"):
        SafetensorsFormat().read(data, [replace(entries[0], place=place), *entries[1:]], Path("f"))


@pytest.mark.parametrize("length", [0, 1, 100_000_001, 2**63, 2**64 - 1])
def test_a_header_of_another_length_is_refused(length: int) -> None:
    data, entries = written(*BUFFERS)
    struct.pack_into("<Q", data, 0, length)
    with pytest.raises(IntegrityError):
        SafetensorsFormat().read(data, entries, Path("f"))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:5]])
def test_a_file_with_a_hole_or_a_tail_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    data, entries = written(*BUFFERS)
    with pytest.raises(IntegrityError):
        SafetensorsFormat().read(change(data), entries, Path("f"))
    with pytest.raises(IntegrityError):
        SafetensorsFormat().read(data, entries[:-1], Path("f"))


def test_headers_are_no_ones_input(tmp_path: Path) -> None:
    """Our reader never parses them, so what would exhaust or fool a parser is bytes to it."""
    data, entries = written(*BUFFERS)
    (length,) = struct.unpack_from("<Q", data)
    for evil in (b"[" * length, b"\xff" * length, b'{"a":1,"a":2}'.ljust(length)):
        data[8 : 8 + length] = evil
        views = SafetensorsFormat().read(data, entries, Path("f"))
        assert [bytes(view) for view in views] == [b.data for b in BUFFERS]
