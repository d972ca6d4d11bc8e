"""The files of the pytorch backend as torch.load(weights_only=True) opens them, and as an attacker would write them."""

from __future__ import annotations

import errno
import io
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections import Counter, OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_checkpoint.common.digest import HashingWriter
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import JSON, Buffer, CheckpointPayload
from model_checkpoint.errors import IntegrityError, StorageFullError, UnstorableStateError
from model_checkpoint.storage.file_store import FileStore
from model_checkpoint.storage.manifest import StoredBuffer
from model_checkpoint.storage.pytorch import open_pytorch
from model_checkpoint.storage.pytorch_file import PytorchFormat
from model_checkpoint.storage.pytorch_view import DTYPES
from model_checkpoint.testing.faulty_fs import FaultyFs
from model_checkpoint.testing.storage_samples import awkward_payload, buffer, contents, payload, tensor_node

NOT_READABLE: dict[str, JSON] = {
    "enum": {"$": "enum", "class": "train:Stage", "v": "FINE"},
    "date": {"$": "date", "v": "2026-11-25"},
    "decimal": {"$": "decimal", "v": "0.1"},
    "frozenset": {"$": "frozenset", "v": [1]},
    "deque": {"$": "deque", "maxlen": 3, "v": [1, {"$": "tuple", "v": [2]}]},
    "of tomorrow": {"$": "of tomorrow"},
    "layout": {"$": "leaf", "kind": "torch.layout", "v": "strided"},
    "malformed": {"$": "tuple", "v": 7},
}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    opened = open_pytorch(tmp_path / "store", FsOps())
    assert isinstance(opened, FileStore)
    return opened


def opened(
    store: FileStore, objects: JSON, *buffers: Buffer, metadata: dict[str, JSON] | None = None
) -> dict[str, object]:
    """Write a checkpoint and return what torch makes of the file."""
    one = CheckpointPayload("one", {"objects": objects, "rng": {}}, buffers, metadata or {})
    store.write(one)
    assert contents(store.read("one")) == contents(one)
    path = store.file_path("one")
    assert path is not None
    loaded = torch.load(path, weights_only=True)
    assert isinstance(loaded, dict)
    return loaded


def test_state_dicts_lie_under_the_names_of_their_objects(store: FileStore) -> None:
    one = payload("one", seed=3)
    loaded = opened(store, one.tree["objects"], *one.buffers, metadata=dict(one.metadata))
    assert set(loaded) == {"model_state_dict", "optimizer_state_dict", "epoch", "step", "metrics", "run", "buffers"}
    assert (loaded["epoch"], loaded["step"], loaded["metrics"]) == (3, 30, {"val_loss": 0.5})
    model, optimizer = loaded["model_state_dict"], loaded["optimizer_state_dict"]
    assert isinstance(model, OrderedDict)
    assert list(model) == ["bias", "weight"]
    assert (model["weight"].dtype, model["weight"].shape) == (torch.float32, (3, 4))
    assert model["weight"].numpy().tobytes() == bytes(one.buffers[0].data)
    assert isinstance(optimizer, dict)
    assert optimizer["state"][0]["exp_avg"].dtype == torch.bfloat16
    torch.nn.Linear(4, 3).load_state_dict(model)


def test_no_tensor_is_stored_twice(store: FileStore) -> None:
    big = buffer("w", "float32", (100_000,))
    views: JSON = {
        "whole": tensor_node(big),
        "tied": tensor_node(big),
        "part": {**tensor_node(big), "shape": [10], "offset": 40},  # type: ignore[dict-item]
        "transposed": {**tensor_node(big), "shape": [2, 3], "strides": [1, 2], "offset": 8},  # type: ignore[dict-item]
    }
    model = opened(store, {"model": views}, big)["model_state_dict"]
    assert isinstance(model, dict)
    path = store.file_path("one")
    assert path is not None
    assert path.stat().st_size < big.nbytes + 10_000
    assert len({tensor.untyped_storage().data_ptr() for tensor in model.values()}) == 1
    whole = model["whole"]
    assert torch.equal(model["part"], whole[10:20])
    assert torch.equal(model["transposed"], whole[2:8].reshape(3, 2).T)


def test_a_view_as_another_dtype_is_a_copy_that_torch_can_save(store: FileStore) -> None:
    held = buffer("w", "float32", (4,))
    node: JSON = {"$": "tensor", "buffer": "w", "dtype": "int16", "shape": [3], "offset": 2}
    model = opened(store, {"m": {"w": tensor_node(held), "halves": node}}, held)["m_state_dict"]
    assert isinstance(model, dict)
    assert model["halves"].numpy().tobytes() == bytes(held.data)[2:8]


@pytest.mark.parametrize("node", [
    {"$": "tensor", "buffer": "nobody", "dtype": "float32", "shape": [4]},
    {"$": "tensor", "buffer": "w", "dtype": "float32", "shape": [5]},
    {"$": "tensor", "buffer": "w", "dtype": "float32", "shape": [1], "offset": 16},
    {"$": "tensor", "buffer": "w", "dtype": "float32", "shape": [1], "offset": 1},
    {"$": "tensor", "buffer": "w", "dtype": "float32", "shape": [2], "strides": [9]},
    {"$": "tensor", "buffer": "w", "dtype": "of tomorrow", "shape": [4]},
    {"$": "tensor"},
])  # fmt: skip
def test_a_view_that_torch_cannot_make_is_shown_as_its_node(store: FileStore, node: JSON) -> None:
    assert opened(store, {"m": {"t": node}}, buffer("w", "float32", (4,)))["m_state_dict"] == {"t": node}


@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_every_dtype_of_torch_comes_back_as_a_tensor_or_as_bytes(store: FileStore) -> None:
    words = sorted({str(d).removeprefix("torch.") for d in vars(torch).values() if isinstance(d, torch.dtype)})
    buffers = []
    for word in words:
        size = getattr(torch, word).itemsize
        data = memoryview(bytes(2 * size) if word == "bool" else bytes(range(2 * size)))
        buffers += [Buffer(f"{word}[2]", word, (2,), data), Buffer(f"{word}[]", word, (), data[:size])]
        buffers += [Buffer(f"{word}[0]", word, (0, 3), data[:0])]
    loaded = opened(store, {"m": {b.name: tensor_node(b) for b in buffers}}, *buffers)
    model, held = loaded["m_state_dict"], loaded["buffers"]
    assert isinstance(model, dict)
    assert isinstance(held, dict)
    for each in buffers:
        tensor = held[each.name]
        known = each.dtype in DTYPES
        assert tensor.dtype == (getattr(torch, each.dtype) if known else torch.uint8)
        assert tuple(tensor.shape) == (each.shape if known else (each.nbytes,))
        assert isinstance(model[each.name], torch.Tensor) is known
    assert set(words) - set(DTYPES) == {
        *(
            "bit",
            "bits16",
            "bits1x8",
            "bits2x4",
            "bits4x2",
            "bits8",
            "qint32",
            "qint8",
            "quint2x4",
            "quint4x2",
            "quint8",
        ),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
    } - {"bit"}


def test_values_are_what_they_were_where_weights_only_allows_it(store: FileStore) -> None:
    objects: JSON = {
        "values": {
            "betas": {"$": "tuple", "v": [0.9, 0.999]},
            "seen": {"$": "set", "v": [1, 2]},
            "counts": {"$": "counter", "v": [[30, 1]]},
            "lr": {"$": "float", "v": "inf"},
            "raw": {"$": "bytes", "v": "AAE="},
            "big": {"$": "int", "v": hex(2**70)},
            "z": {"$": "complex", "v": [(1.0).hex(), (2.0).hex()]},
            "dtype": {"$": "leaf", "kind": "torch.dtype", "v": "float16"},
            "device": {"$": "leaf", "kind": "torch.device", "v": "cuda:1"},
            "size": {"$": "leaf", "kind": "torch.Size", "v": [2, 3]},
            "steps": {"$": "dict", "v": [[{"$": "tuple", "v": [0, "a"]}, "x"], [None, [True, None]]]},
            "meta": {"$": "odict", "v": {"a": 1}, "attributes": {"_metadata": {"": {"version": 1}}}},
        }
    }
    values = opened(store, objects)["values_state_dict"]
    assert isinstance(values, dict)
    meta = values.pop("meta")
    assert (meta, vars(meta)) == (OrderedDict(a=1), {"_metadata": {"": {"version": 1}}})
    assert values == {
        "betas": (0.9, 0.999),
        "seen": {1, 2},
        "counts": Counter({30: 1}),
        "lr": float("inf"),
        "raw": b"\0\1",
        "big": 2**70,
        "z": 1 + 2j,
        "dtype": torch.float16,
        "device": torch.device("cuda:1"),
        "size": torch.Size([2, 3]),
        "steps": {(0, "a"): "x", None: [True, None]},
    }
    assert type(values["counts"]) is Counter


@pytest.mark.parametrize("kind", NOT_READABLE)
def test_values_that_weights_only_refuses_are_shown_as_their_nodes(store: FileStore, kind: str) -> None:
    node = NOT_READABLE[kind]
    assert opened(store, {"m": {"v": [node]}})["m_state_dict"] == {"v": [node]}


@pytest.mark.parametrize("kind", [kind for kind in NOT_READABLE if kind != "malformed"])
def test_as_keys_and_in_sets_they_are_text(store: FileStore, kind: str) -> None:
    import json

    node = NOT_READABLE[kind]
    keys: JSON = {"$": "dict", "v": [[node, 1], [{"$": "tuple", "v": [1, node]}, 2]]}
    state = opened(store, {"m": {"keys": keys, "set": {"$": "set", "v": [node]}}})["m_state_dict"]
    text = json.dumps(node)
    assert state == {"keys": {text: 1, (1, text): 2}, "set": {text}}


def test_nested_pairs_cost_no_more_than_they_weigh(store: FileStore) -> None:
    node: JSON = "bottom"
    for _ in range(60):
        node = {"$": "dict", "v": [[0, node]]}
    state = opened(store, {"m": node})["m_state_dict"]
    for _ in range(60):
        state = state[0]  # type: ignore[index]
    assert state == "bottom"


def test_metadata_that_json_lacks_words_for_is_plain_here(store: FileStore) -> None:
    loaded = opened(store, {}, metadata={"epoch": 1, "x": float("-inf"), "big": 10**30, "buffers": 7, "odd": {"$": 1}})
    assert (loaded["x"], loaded["big"], loaded["odd"], loaded["buffers"]) == (float("-inf"), 10**30, {"$": 1}, {})


def test_awkward_payloads_open(store: FileStore) -> None:
    one = awkward_payload("one")
    loaded = opened(store, one.tree["objects"], *one.buffers, metadata=dict(one.metadata))
    held = loaded["metadata"]
    assert isinstance(held, dict), "metadata that is itself a node keeps to one entry"
    assert set(loaded["buffers"]) == {b.name for b in one.buffers}  # type: ignore[call-overload]


def test_memory_given_twice_under_two_dtypes_is_saved(store: FileStore) -> None:
    data = memoryview(bytearray(range(16)))
    opened(store, {}, Buffer("a", "float32", (4,), data), Buffer("b", "int64", (2,), data))


def test_read_only_memory_is_taken_without_a_warning(store: FileStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(store, {}, Buffer("a", "float32", (2,), memoryview(bytes(range(8)))))


def test_what_is_read_belongs_to_the_reader(store: FileStore) -> None:
    store.write(payload("one"))
    for each in store.read("one").buffers:
        each.data[:] = bytes(each.nbytes)
    assert contents(store.read("one")) == contents(payload("one"))


def test_nesting_that_pickle_cannot_follow_is_an_error_before_anything_is_left(
    store: FileStore, tmp_path: Path
) -> None:
    node: JSON = []
    for _ in range(900):
        node = [node]
    with pytest.raises(UnstorableStateError, match="nested too deeply"):
        store.write(CheckpointPayload("one", {"objects": {"m": node}}, (), {}))
    assert list(store.list_ids()) == []
    store.close()
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("after", [0, 1, 5, 20])
def test_a_full_disk_in_the_middle_of_the_file_is_told_as_such(after: int, tmp_path: Path) -> None:
    fs = FaultyFs()
    store = open_pytorch(tmp_path / "store", fs)
    fs.arm(after=after, fault=OSError(errno.ENOSPC, "as told"), only={"write"})
    with pytest.raises(StorageFullError, match="no space left while writing"):
        store.write(payload("one"))
    assert list(store.list_ids()) == []


def test_without_torch_the_error_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from model_checkpoint.common.fsops import FsOps\n"
        "from model_checkpoint.storage.pytorch import open_pytorch\n"
        "from model_checkpoint.testing.storage_samples import payload\n"
        f"store = open_pytorch(Path({str(tmp_path / 'store')!r}), FsOps())\n"
        "assert store.capabilities.file_suffix == '.pt'\n"
        "try: store.write(payload('one'))\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
        "assert list(store.list_ids()) == []\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        "MissingExtraError the storage backend 'pytorch' needs an optional dependency:"
        " pip install 'model-checkpoint-engine[torch]'\n"
    ), done.stderr


# What an attacker writes who can also write the manifest: right checksums around wrong content.


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/model_checkpoint_was_here",)


def saved(value: object) -> bytearray:
    sink = io.BytesIO()
    torch.save(value, sink)
    return bytearray(sink.getvalue())


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytearray:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return bytearray(sink.getvalue())


def compressed() -> bytearray:
    with zipfile.ZipFile(io.BytesIO(saved({"buffers": {"w": torch.zeros(4_000_000)}}))) as archive:
        return packed({name: archive.read(name) for name in archive.namelist()}, zipfile.ZIP_DEFLATED)


HOSTILE = {
    "a call of os.system": lambda: saved({"buffers": {"w": Runs()}}),
    "a pickle": lambda: bytearray(pickle.dumps({"buffers": {}})),
    "a pickle that calls": lambda: bytearray(pickle.dumps(Runs())),
    "a zip file with a pickle that calls": lambda: packed({"a/data.pkl": pickle.dumps(Runs()), "a/version": b"3"}),
    "a zip file of nothing": lambda: packed({}),
    "no buffers": lambda: saved({"epoch": 1}),
    "a list": lambda: saved([1]),
    "a number for a tensor": lambda: saved({"buffers": {"w": 7}}),
    "a smaller tensor": lambda: saved({"buffers": {"w": torch.zeros(1)}}),
    "a tensor that repeats itself": lambda: saved({"buffers": {"w": torch.zeros(1).expand(2)}}),
    "a sparse tensor": lambda: saved({"buffers": {"w": torch.zeros(2).to_sparse()}}),
    "a tensor without memory": lambda: saved({"buffers": {"w": torch.zeros(2, device="meta")}}),
    "nothing": bytearray,
    "zeros": lambda: bytearray(4096),
    "text": lambda: bytearray(b"PK\x03\x04 not really"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_and_run_nothing(kind: str) -> None:
    entry = StoredBuffer("w", "float32", (2,), 8, {})
    witness = Path("/tmp/model_checkpoint_was_here")
    witness.unlink(missing_ok=True)
    with pytest.raises(IntegrityError, match=r"name\.pt has the right checksum and is no file that was ever written"):
        PytorchFormat().read(HOSTILE[kind](), [entry], Path("name.pt"))
    assert not witness.exists()


def test_compressed_members_are_refused_before_they_are_inflated() -> None:
    entry = StoredBuffer("w", "float32", (4_000_000,), 16_000_000, {})
    with pytest.raises(IntegrityError, match="compressed or encrypted members"):
        PytorchFormat().read(compressed(), [entry], Path("name.pt"))


def test_a_file_cut_or_changed_anywhere_is_read_or_refused_but_never_another_error() -> None:
    sink = io.BytesIO()
    held = buffer("w", "float32", (2,))
    PytorchFormat().write(CheckpointPayload("one", {"objects": {}}, (held,), {}), HashingWriter(sink))
    whole, entry = sink.getvalue(), StoredBuffer("w", "float32", (2,), 8, {})
    for position in range(0, len(whole), 7):
        for data in (bytearray(whole[:position]), bytearray(whole)):
            if len(data) == len(whole):
                data[position] ^= 0x55
            try:
                (read,) = PytorchFormat().read(data, [entry], Path("name.pt"))
            except IntegrityError:
                continue
            assert read.nbytes == 8


def test_a_manifest_that_promises_another_buffer_is_refused(store: FileStore) -> None:
    sink = io.BytesIO()
    held = buffer("w", "float32", (2,))
    PytorchFormat().write(CheckpointPayload("one", {}, (held,), {}), HashingWriter(sink))
    entry = StoredBuffer("w", "float32", (2,), 8, {})
    for wrong in (replace(entry, name="x"), replace(entry, nbytes=4), replace(entry, nbytes=0)):
        with pytest.raises(IntegrityError):
            PytorchFormat().read(bytearray(sink.getvalue()), [wrong], Path("f"))
