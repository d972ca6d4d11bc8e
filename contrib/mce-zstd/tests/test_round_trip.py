"""What is written comes back, bit for bit, as what it was."""

from __future__ import annotations

import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mce_zstd import read_file, write_file
from mce_zstd.grouping import grouped, ungroup
from mce_zstd.reader import read_header
from mce_zstd.tensors import dtypes

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import CheckpointExistsError, UnstorableStateError

CHUNK = 64 * 1024


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def there_and_back(tensors: dict[str, object], folder: Path, **options: object) -> dict[str, object]:
    write_file(tensors, folder / "x.mcez", chunk_nbytes=CHUNK, **options)
    return read_file(folder / "x.mcez")


@pytest.mark.parametrize("name", sorted(dtypes()))
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5)])
def test_every_dtype_comes_back(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls some of its dtypes experimental
        count = int(np.prod(shape)) * dtypes()[name].itemsize
        memory = torch.randint(0, 256, (count,), dtype=torch.uint8)
        if name == "bool":
            memory %= 2
        tensor = memory.view(dtypes()[name]).reshape(shape)
        found = there_and_back({"t": tensor}, tmp_path)["t"]
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert bits(found) == bits(tensor)


@pytest.mark.parametrize("level", [0, 1, 3, 9])
@pytest.mark.parametrize("threads", [1, 4])
def test_tensors_of_many_chunks_come_back(tmp_path: Path, level: int, threads: int) -> None:
    tensors = {"a": torch.randn(100_003), "b": torch.randn(50_001).bfloat16(), "c": torch.arange(70_000)}
    found = there_and_back(tensors, tmp_path, level=level, threads=threads)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert list(found) == list(tensors)


def test_nan_payloads_and_negative_zeros_keep_their_bits(tmp_path: Path) -> None:
    tensor = torch.tensor([0x7FC00001, 0xFFC12345, 0x80000000, 0x7F800000], dtype=torch.uint32).view(torch.float32)
    assert bits(there_and_back({"t": tensor}, tmp_path)["t"]) == bits(tensor)


def test_strided_conjugated_and_expanded_tensors_come_back_as_their_values(tmp_path: Path) -> None:
    tensors = {
        "turned": torch.randn(30, 40).T,
        "steps": torch.arange(100)[::3],
        "conjugated": torch.randn(7, dtype=torch.complex64).conj(),
        "negated": torch.randn(7, dtype=torch.complex64).conj().imag,
        "expanded": torch.randn(5, 1).expand(5, 9),
    }
    found = there_and_back(dict(tensors), tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_tied_tensor_is_stored_once_and_comes_back_tied(tmp_path: Path) -> None:
    weight = torch.randn(1000, 100)
    found = there_and_back({"embed": weight, "head": weight, "view": weight[:]}, tmp_path)
    assert found["embed"] is found["head"] is found["view"]
    assert (tmp_path / "x.mcez").stat().st_size < 1.1 * weight.nbytes
    assert [entry.name for entry in read_header(tmp_path / "x.mcez").tensors] == ["embed"]


def test_two_views_of_one_memory_are_no_tied_tensor(tmp_path: Path) -> None:
    memory = torch.arange(12)
    found = there_and_back({"flat": memory, "square": memory.reshape(3, 4), "half": memory[:6]}, tmp_path)
    assert [tuple(found[name].shape) for name in ("flat", "square", "half")] == [(12,), (3, 4), (6,)]


def test_a_tensor_and_its_conjugate_share_memory_and_are_two(tmp_path: Path) -> None:
    given_ = torch.randn(9, dtype=torch.complex64)
    found = there_and_back({"plain": given_, "conjugated": given_.conj()}, tmp_path)
    assert torch.equal(found["conjugated"], given_.conj())


def test_arrays_of_numpy_come_back_as_tensors(tmp_path: Path) -> None:
    found = there_and_back({"a": np.arange(6, dtype=np.uint16).reshape(2, 3)}, tmp_path)["a"]
    assert (found.dtype, found.tolist()) == (torch.uint16, [[0, 1, 2], [3, 4, 5]])


def test_parameters_come_back_without_their_history(tmp_path: Path) -> None:
    found = there_and_back({"p": torch.nn.Parameter(torch.ones(3))}, tmp_path)["p"]
    assert not found.requires_grad


def test_metadata_and_strange_names_come_back(tmp_path: Path) -> None:
    names = ["../../etc/passwd\0x", "ä\u2028", "", "a" * 10_000]
    write_file({name: torch.ones(2) for name in names}, tmp_path / "x.mcez", metadata={"run": "digits-1"})
    assert list(read_file(tmp_path / "x.mcez")) == names
    assert read_header(tmp_path / "x.mcez").metadata == {"run": "digits-1"}
    assert [path.name for path in tmp_path.iterdir()] == ["x.mcez"]


def test_no_tensors_make_a_file_too(tmp_path: Path) -> None:
    assert there_and_back({}, tmp_path) == {}


def test_everything_that_cannot_be_stored_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    given_ = {
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(3, device="meta"),
        "words": ["a"],
        "half\ud800": torch.ones(1),
        "fine": torch.ones(1),
    }
    with pytest.raises(UnstorableStateError) as caught:
        write_file(given_, tmp_path / "x.mcez")
    assert len(caught.value.problems) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_tensor_is_refused(tmp_path: Path) -> None:
    tensor = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    with pytest.raises(UnstorableStateError, match="dequantize"):
        write_file({"q": tensor}, tmp_path / "x.mcez")


def test_what_is_there_already_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.mcez").write_bytes(b"mine")
    with pytest.raises(CheckpointExistsError):
        write_file({"t": torch.ones(3)}, tmp_path / "x.mcez")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.mcez", b"mine")]


@pytest.mark.parametrize("call", ["create", "write_at", "sync_file", "link"])
def test_whatever_fails_nothing_is_left_and_no_thread_runs(tmp_path: Path, call: str) -> None:
    class Failing(FsOps):
        pass

    def fail(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    setattr(Failing, call, fail)
    before = threading.active_count()
    with pytest.raises(OSError, match="No space"):
        write_file({"t": torch.randn(100_000)}, tmp_path / "x.mcez", chunk_nbytes=CHUNK, fs=Failing())
    assert (list(tmp_path.iterdir()), threading.active_count()) == ([], before)


def test_the_same_tensors_give_the_same_file(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(100_000), "b": torch.arange(50_000)}
    write_file(tensors, tmp_path / "1.mcez", threads=1, chunk_nbytes=CHUNK)
    write_file(tensors, tmp_path / "4.mcez", threads=4, chunk_nbytes=CHUNK)
    assert (tmp_path / "1.mcez").read_bytes() == (tmp_path / "4.mcez").read_bytes()


def test_memory_beside_the_tensors_is_bounded_by_the_chunks(tmp_path: Path) -> None:
    tensor = torch.randn(4_000_000)
    tracemalloc.start()
    try:
        write_file({"t": tensor}, tmp_path / "x.mcez", chunk_nbytes=CHUNK, threads=2)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
        tracemalloc.reset_peak()
        read_file(tmp_path / "x.mcez", threads=2)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_weights_take_less_room_than_without_grouping(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensor = (torch.randn(200_000) * 0.02).bfloat16()
    write_file({"t": tensor}, tmp_path / "x.mcez")
    assert (tmp_path / "x.mcez").stat().st_size < tensor.nbytes / 1.4


@given(st.binary(max_size=200), st.sampled_from([1, 2, 4, 8]))
def test_grouping_undone_is_what_was(data: bytes, width: int) -> None:
    array = np.frombuffer(data[: len(data) // width * width], dtype=np.uint8)
    back = np.empty_like(array)
    ungroup(grouped(array, width), width, back)
    assert back.tobytes() == array.tobytes()


def test_groups_stand_one_behind_the_other() -> None:
    assert grouped(np.array([1, 2, 3, 4, 5, 6], dtype=np.uint8), 2).tolist() == [1, 3, 5, 2, 4, 6]
