"""The conformance kit for codecs: what ``model_checkpoint.contracts.codec`` asks for, as tests.

::

    from model_checkpoint.testing import CodecTests
    from my_plugin import register_codecs

    class TestMyCodec(CodecTests):
        dtypes = ("float32", "int64")        # what the format can hold, in numpy's words, and bfloat16

        @pytest.fixture
        def codec(self):
            return register_codecs(kernel=None)[0]

The rules:

1.  ``read`` returns what ``write`` was given: names, dtypes, shapes and every bit of every element; of no dimension, of
    no elements, with gaps in memory, NaN with its payload; whatever `max_shard_nbytes` and the metadata are.
2.  Names are data: ``../x``, NUL or an empty one come back as they were or raise ``UnstorableStateError``; nothing is
    ever written outside the target.
3.  ``write`` returns the files that it wrote, all of them and no others.
4.  A ``write`` that fails, with ``UnstorableStateError`` or OSError, leaves nothing: no target, no file beside it.
5.  ``detects`` knows what ``write`` wrote and nothing else, no empty folder and no foreign file. It raises nothing.
6.  ``read`` raises ``IntegrityError`` for what is no whole file of the format, and runs nothing that a file brings.
7.  What is given to ``write`` is not changed, and what ``read`` returns lives on when the file is gone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from model_checkpoint.contracts import CodecDescriptor
from model_checkpoint.errors import IntegrityError, UnstorableStateError
from model_checkpoint.testing.faulty_fs import snapshot
from model_checkpoint.testing.record_samples import TEXTS, rule
from model_checkpoint.testing.storage_samples import BUFFER_NAMES, SHAPES

FLIPS = 64
"""Bits flipped in each file."""
FILE_LIMIT_NBYTES = 64 * 1024
"""How long a file may be while the disk of rule 4 is full."""


class CodecTests:
    """Subclass it and give `codec`, and perhaps `dtypes`: see the module's docstring."""

    dtypes: ClassVar[tuple[str, ...]] = (
        "bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64", "bfloat16",
    )  # fmt: skip
    """What the format can hold. ``bfloat16`` is left out where there is no torch, which alone has it."""

    @pytest.fixture
    def codec(self) -> CodecDescriptor:
        """The codec."""
        raise NotImplementedError("override the fixture `codec`")

    @pytest.fixture
    def target(self, tmp_path: Path) -> Path:
        """Where to write: a name that does not exist, in a folder of its own. Override it if the suffix matters."""
        return tmp_path / "out" / "file"

    @rule(1)
    @pytest.mark.parametrize("max_shard_nbytes", [10, 10**9])
    def test_what_was_written_is_read(self, codec: CodecDescriptor, target: Path, max_shard_nbytes: int) -> None:
        tensors = {f"{dtype}{list(shape)}": tensor(dtype, shape) for dtype in self._dtypes() for shape in SHAPES}
        write(codec, tensors, target, max_shard_nbytes=max_shard_nbytes)
        assert bits(codec.read(target)) == bits(tensors)

    @rule(1)
    def test_a_nan_keeps_its_bits(self, codec: CodecDescriptor, target: Path) -> None:
        odd = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 1], np.uint32).view(np.float32)
        write(codec, {"odd": odd}, target)
        assert bits(codec.read(target)) == bits({"odd": odd})

    @rule(1)
    def test_what_lies_in_memory_with_gaps_is_read_in_its_order(self, codec: CodecDescriptor, target: Path) -> None:
        whole = np.arange(24, dtype=np.float32).reshape(4, 6)
        tensors = {"turned": whole.T, "every other": whole[::2, 1::2], "same memory": whole, "row": whole[1]}
        write(codec, tensors, target)
        assert bits(codec.read(target)) == bits({name: np.ascontiguousarray(each) for name, each in tensors.items()})

    @rule(1)
    def test_any_metadata_may_be_told(self, codec: CodecDescriptor, target: Path) -> None:
        texts = [text for text in TEXTS if text.isprintable() and text]
        write(codec, small(), target, metadata={text: text for text in texts})
        assert bits(codec.read(target)) == bits(small())

    @rule(2)
    @pytest.mark.parametrize("name", BUFFER_NAMES, ids=[ascii(name)[:20] for name in BUFFER_NAMES])
    def test_a_name_is_data(self, codec: CodecDescriptor, target: Path, name: str) -> None:
        tensors = {"before": small()["weight"], name: small()["bias"]}
        outside = snapshot(target.parent.parent)
        try:
            write(codec, tensors, target, max_shard_nbytes=1)
        except UnstorableStateError:
            assert snapshot(target.parent.parent) == outside
            return
        assert bits(codec.read(target)) == bits(tensors)
        assert all(within(target, target.parent.parent / path) for path in snapshot(target.parent.parent))

    @rule(3)
    @pytest.mark.parametrize("max_shard_nbytes", [1, 10**9])
    def test_the_files_that_were_written_are_named(
        self, codec: CodecDescriptor, target: Path, max_shard_nbytes: int
    ) -> None:
        named = write(codec, small(), target, max_shard_nbytes=max_shard_nbytes)
        there = {target.parent / path for path in snapshot(target.parent)}
        assert sorted(named) == sorted(there)

    @rule(4)
    def test_what_cannot_be_stored_leaves_nothing(self, codec: CodecDescriptor, target: Path) -> None:
        for wrong in ("text", object(), None):
            with pytest.raises(UnstorableStateError, match="the wrong one"):
                write(codec, {**small(), "the wrong one": wrong}, target)
            assert snapshot(target.parent) == {}
            assert not target.exists()

    @rule(4)
    def test_a_full_disk_leaves_nothing(self, codec: CodecDescriptor, target: Path) -> None:
        big = {f"t{number}": np.random.default_rng(number).random(100_000) for number in range(3)}
        with full_disk(), pytest.raises(OSError):  # noqa: PT011 - which one is the file system's affair
            write(codec, big, target, max_shard_nbytes=10)
        assert snapshot(target.parent) == {}
        assert not target.exists()
        write(codec, big, target)
        assert bits(codec.read(target)) == bits(big)

    @rule(5)
    def test_it_detects_what_it_wrote_and_nothing_else(
        self, codec: CodecDescriptor, target: Path, tmp_path: Path
    ) -> None:
        assert codec.detects(target) is False
        write(codec, small(), target)
        assert codec.detects(target) is True
        (tmp_path / "empty").mkdir()
        (tmp_path / "foreign.of-nobody").write_bytes(b"nothing that anybody knows\n" * 9)
        (tmp_path / "nothing.of-nobody").touch()
        os.mkfifo(tmp_path / "pipe")
        others = ("empty", "foreign.of-nobody", "nothing.of-nobody", "pipe", "not there")
        assert [name for name in others if codec.detects(tmp_path / name)] == []

    @rule(6)
    def test_what_is_cut_short_or_foreign_is_refused(self, codec: CodecDescriptor, target: Path) -> None:
        for file, whole in self._files(codec, target):
            noise = random.Random(0).randbytes(1000)
            for changed in (b"", whole[:1], whole[: len(whole) // 2], whole[:-9], noise, b"[" * 100_000):
                file.write_bytes(changed)
                with pytest.raises(IntegrityError):
                    codec.read(target)
            file.write_bytes(whole)
        assert bits(codec.read(target)) == bits(small())

    @rule(6)
    def test_a_flipped_bit_is_refused_or_changes_a_value_and_nothing_worse(
        self, codec: CodecDescriptor, target: Path
    ) -> None:
        seeded = random.Random(0)
        for file, whole in self._files(codec, target):
            for bit in seeded.sample(range(len(whole) * 8), min(FLIPS, len(whole) * 8)):
                changed = bytearray(whole)
                changed[bit // 8] ^= 1 << bit % 8
                file.write_bytes(changed)
                with contextlib.suppress(IntegrityError):
                    assert isinstance(codec.read(target), dict)
            file.write_bytes(whole)

    @rule(6)
    def test_nothing_that_a_file_brings_is_run(self, codec: CodecDescriptor, target: Path, tmp_path: Path) -> None:
        marker = tmp_path / "was run"
        for file, whole in self._files(codec, target):
            file.write_bytes(pickle.dumps({"weight": _Running(str(marker))}, protocol=2))
            with pytest.raises(IntegrityError):
                codec.read(target)
            file.write_bytes(whole)
        assert not marker.exists()

    @rule(7)
    def test_what_is_given_is_not_changed(self, codec: CodecDescriptor, target: Path) -> None:
        given = small()
        write(codec, given, target, max_shard_nbytes=1)
        assert bits(given) == bits(small())
        assert [*given] == [*small()]

    @rule(7)
    def test_what_was_read_outlives_the_file(self, codec: CodecDescriptor, target: Path) -> None:
        for file, _ in self._files(codec, target):
            found = codec.read(target)
            whole = file.read_bytes()
            file.unlink()
            assert bits(found) == bits(small())
            file.write_bytes(whole)

    def _dtypes(self) -> list[str]:
        return [dtype for dtype in self.dtypes if dtype != "bfloat16" or importlib.util.find_spec("torch")]

    def _files(self, codec: CodecDescriptor, target: Path) -> list[tuple[Path, bytes]]:
        return [(file, file.read_bytes()) for file in write(codec, small(), target, max_shard_nbytes=1)]


class _Running:
    """Unpickled, it makes a folder: a file that brings code."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def small() -> dict[str, Any]:
    """Return two tensors by name."""
    return {"weight": tensor("float32", (3, 4)), "bias": tensor("int64", (3,))}


def tensor(dtype: str, shape: tuple[int, ...]) -> Any:
    """Return an array of numpy, or a tensor of torch for ``bfloat16``, which numpy lacks."""
    values = (np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape) * 7 + 1) % 100
    if dtype != "bfloat16":
        return values.astype(dtype)
    import torch

    return torch.tensor(values.tolist(), dtype=torch.bfloat16).reshape(shape)


def bits(tensors: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return dtype, shape and bytes of each tensor by name: of numpy, of torch, or of what numpy understands."""
    return {name: _bits(each) for name, each in tensors.items()}


def _bits(value: Any) -> tuple[str, tuple[int, ...], bytes]:
    shape, dtype = tuple(value.shape), str(value.dtype).removeprefix("torch.")
    if dtype == "bfloat16" and hasattr(value, "detach"):
        import torch

        value = value.detach().cpu().contiguous().reshape(-1).view(torch.int16)
    return dtype, shape, np.ascontiguousarray(np.asarray(value)).tobytes()


def write(
    codec: CodecDescriptor,
    tensors: Mapping[str, object],
    target: Path,
    *,
    metadata: Mapping[str, str] | None = None,
    max_shard_nbytes: int = 10**9,
) -> list[Path]:
    """Write to a target whose folder is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    told = {"run": "digits-1"} if metadata is None else metadata
    files = codec.write(tensors, target, metadata=told, max_shard_nbytes=max_shard_nbytes)
    return [Path(file) for file in files]


def within(target: Path, path: Path) -> bool:
    """Say whether `path` is the target or lies in it."""
    return path == target or target in path.parents


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let the operating system refuse every file of this process beyond `FILE_LIMIT_NBYTES`, as a quota does."""
    resource = pytest.importorskip("resource", reason="this system knows no limit for the length of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_NBYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
