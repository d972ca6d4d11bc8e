"""Hostile and damaged files: ``IntegrityError`` that names what, and no memory for what is only claimed."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mce_zstd import layout, read_file, write_file
from mce_zstd.layout import MAGIC, PRELUDE, pack
from mce_zstd.plugin import is_mcez

from model_checkpoint.errors import IntegrityError

CHUNK = 64 * 1024
DIGEST = "0" * 64


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of a few small tensors."""
    path = tmp_path_factory.mktemp("sound") / "x.mcez"
    weight = torch.arange(40, dtype=torch.float32)
    tensors = {"a": weight, "b": torch.randn(33).bfloat16(), "c": weight, "d": torch.empty(0)}
    write_file(tensors, path, metadata={"run": "digits-1"}, chunk_nbytes=CHUNK)
    return path.read_bytes()


def refused(data: bytes, folder: Path) -> str:
    """Return what is said of a file; fails where it is accepted."""
    path = folder / "hostile.mcez"
    path.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        read_file(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def entry(**changes: Any) -> dict[str, Any]:
    made = {"name": "t", "dtype": "uint8", "shape": [8], "group": 1, "sha256": DIGEST, "frames": [17]}
    return {**made, **changes}


def table(*tensors: object, **changes: Any) -> dict[str, Any]:
    return {"chunk_nbytes": CHUNK, "metadata": {}, "ties": {}, "tensors": list(tensors), **changes}


def built(header: object, frames: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return pack(raw) + frames


def test_every_byte_that_is_flipped_is_noticed(sound: bytes, tmp_path: Path) -> None:
    for at in range(len(sound)):
        refused(sound[:at] + bytes([sound[at] ^ 0x41]) + sound[at + 1 :], tmp_path)


def test_every_length_that_it_is_cut_to_is_noticed(sound: bytes, tmp_path: Path) -> None:
    for length in range(len(sound)):
        refused(sound[:length], tmp_path)


@given(st.binary(min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_anything_that_follows_is_noticed(sound: bytes, tmp_path: Path, more: bytes) -> None:
    assert "accounts for" in refused(sound + more, tmp_path)


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_behind_the_magic_are_refused(tmp_path: Path, data: bytes) -> None:
    refused(MAGIC + data, tmp_path)


@pytest.mark.parametrize("nbytes", [0, 2**63, 2**64 - 1, 32 * 1024 * 1024 + 1, 5])
def test_a_header_of_a_wrong_length_is_refused(tmp_path: Path, nbytes: int) -> None:
    refused(PRELUDE.pack(MAGIC, 1, nbytes, bytes(32)) + b"{}", tmp_path)


def test_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert "update mce-zstd" in refused(PRELUDE.pack(MAGIC, 2, 2, bytes(32)) + b"{}", tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"chunk_nbytes":' * 100_000,
        b'{"tensors":[],"tensors":[],"chunk_nbytes":65536,"metadata":{},"ties":{}}',
        b'{"tensors":[],"chunk_nbytes":NaN,"metadata":{},"ties":{}}',
        b'{"tensors":[],"chunk_nbytes":1e999,"metadata":{},"ties":{}}',
        b'{"tensors":[],"chunk_nbytes":' + b"9" * 5000 + b',"metadata":{},"ties":{}}',
        json.dumps(table(more=1)).encode(),
        json.dumps(table(chunk_nbytes=0)).encode(),
        json.dumps(table(chunk_nbytes=True)).encode(),
        json.dumps(table(chunk_nbytes=2**40)).encode(),
        json.dumps(table(chunk_nbytes=65537)).encode(),
        json.dumps(table(tensors={})).encode(),
        json.dumps(table(metadata={"a": 1})).encode(),
        json.dumps(table(ties={"x": "absent"})).encode(),
        json.dumps(table(ties=[])).encode(),
        json.dumps(table(None)).encode(),
        json.dumps(table(entry(more=1))).encode(),
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, header: bytes) -> None:
    started = time.perf_counter()
    refused(built(header), tmp_path)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 5},
        {"dtype": "object"},
        {"dtype": ["uint8"]},
        {"dtype": "qint8"},
        {"shape": [-1]},
        {"shape": [8.0]},
        {"shape": [True]},
        {"shape": "8"},
        {"shape": [2**63]},
        {"shape": [1] * 65},
        {"shape": [2**40, 2**40]},
        {"shape": [9]},
        {"group": 2},
        {"group": True},
        {"sha256": "0" * 63},
        {"sha256": 5},
        {"frames": []},
        {"frames": [17, 17]},
        {"frames": [-17]},
        {"frames": [0]},
        {"frames": [True]},
        {"frames": [2**62]},
        {"frames": "17"},
    ],
)
def test_a_tensor_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    frame = zstandard.compress(bytes(8))
    refused(built(table(entry(**changes)), frame), tmp_path)


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    frame = zstandard.compress(b"12345678")
    each = entry(frames=[len(frame)])
    assert "one name" in refused(built(table(each, each), frame * 2), tmp_path)


def test_a_bomb_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    frame = zstandard.compress(bytes(CHUNK))
    count = 40_000
    bomb = entry(shape=[count * CHUNK], frames=[len(frame)] * count)
    data = built(table(bomb), frame * count)
    tracemalloc.start()
    message = refused(data, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "max_ratio" in message
    assert peak < 20 * len(data)


def test_a_frame_that_claims_to_give_more_is_refused_before_it_is_believed(tmp_path: Path) -> None:
    lying = bytes.fromhex("28b52ffd") + bytes([0b11000000 | 0b00100000]) + (2**60).to_bytes(8, "little") + bytes(8)
    message = refused(built(table(entry(frames=[len(lying)])), lying), tmp_path)
    assert "'t' is damaged" in message


@pytest.mark.parametrize(
    "make",
    [
        lambda: zstandard.compress(b"1234567"),
        lambda: zstandard.compress(b"12345678") + b"x",
        lambda: zstandard.compress(b"1234") + zstandard.compress(b"5678"),
        lambda: zstandard.ZstdCompressor(write_content_size=False).compress(b"12345678"),
        lambda: bytes.fromhex("502a4d18") + (9).to_bytes(4, "little") + b"123456789",
        lambda: b"no zstd at all",
    ],
)
def test_a_frame_that_is_not_exactly_one_is_refused(tmp_path: Path, make: Callable[[], bytes]) -> None:
    frame = make()
    refused(built(table(entry(frames=[len(frame)])), frame), tmp_path)


def test_a_frame_with_other_bytes_is_refused_by_its_digest(tmp_path: Path) -> None:
    frame = zstandard.compress(b"12345678")
    message = refused(built(table(entry(frames=[len(frame)])), frame), tmp_path)
    assert "'t' is not what was written: its SHA-256 differs" in message


def test_many_empty_tensors_take_no_time(tmp_path: Path) -> None:
    header = table(*(entry(name=str(number), shape=[0], frames=[]) for number in range(100_000)))
    path = tmp_path / "x.mcez"
    path.write_bytes(built(header))
    started = time.perf_counter()
    with pytest.raises(IntegrityError, match="SHA-256"):
        read_file(path)
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x.mcez")
    with pytest.raises(IntegrityError, match="no regular file"):
        read_file(tmp_path / "x.mcez")
    assert not is_mcez(tmp_path / "x.mcez")


def test_what_a_reader_would_take_for_a_bomb_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "FREE_NBYTES", 1_000_000)
    with pytest.raises(IntegrityError, match="max_ratio"):
        write_file({"t": torch.zeros(1_000_000)}, tmp_path / "x.mcez")
    assert list(tmp_path.iterdir()) == []
    write_file({"t": torch.zeros(1_000_000)}, tmp_path / "x.mcez", max_ratio=100_000)
    assert not read_file(tmp_path / "x.mcez", max_ratio=100_000)["t"].any()
