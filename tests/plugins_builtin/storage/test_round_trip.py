"""Whatever a checkpoint holds, every backend gives it back exactly, and other tools open its file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import Buffer, CheckpointPayload, StorageBackend
from model_checkpoint.storage.memory import open_memory
from model_checkpoint.storage.pytorch import open_pytorch
from model_checkpoint.storage.safetensors import open_safetensors
from model_checkpoint.testing.storage_samples import DTYPES, buffer, contents

TEXT = st.text(st.characters(codec=None), max_size=8)  # lone surrogates and all
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | FLOATS | TEXT
NODES = st.builds(lambda kind, value: {"$": kind, "v": value}, st.sampled_from(["tuple", "set", "float", "?"]), LEAVES)
TREES = st.recursive(
    LEAVES | NODES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=12
)
METADATA = st.dictionaries(TEXT, st.recursive(LEAVES | st.floats() | st.integers(), st.lists, max_leaves=5), max_size=4)
SHAPES = st.lists(st.integers(0, 4), max_size=3)


@st.composite
def checkpoints(draw: st.DrawFn) -> CheckpointPayload:
    """Draw buffers of any name, dtype and shape, and a tree that refers to some of them."""
    names = draw(st.lists(TEXT, max_size=5, unique=True))
    buffers: list[Buffer] = [
        buffer(name, draw(st.sampled_from(sorted(DTYPES))), draw(SHAPES), seed=number)
        for number, name in enumerate(names)
    ]
    tensors = {
        each.name: {"$": "tensor", "buffer": each.name, "dtype": each.dtype, "shape": list(each.shape)}
        for each in buffers
    }
    tree = {"objects": {"tensors": tensors, "values": draw(TREES)}, "more": draw(TREES)}
    return CheckpointPayload("", tree, buffers, draw(METADATA))


@pytest.fixture(scope="module", params=[open_safetensors, open_pytorch, open_memory])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageBackend]:
    opened: StorageBackend = request.param(tmp_path_factory.mktemp("store"), FsOps())
    yield opened
    opened.close()


NUMBERS = itertools.count()


@given(drawn=checkpoints())
def test_every_checkpoint_comes_back_and_its_file_opens(backend: StorageBackend, drawn: CheckpointPayload) -> None:
    one = CheckpointPayload(f"c{next(NUMBERS)}", drawn.tree, drawn.buffers, drawn.metadata)
    receipt = backend.write(one)
    read = backend.read(one.checkpoint_id, expected_digest=receipt.digest)
    assert contents(read) == contents(one)
    assert all(not each.data.readonly and each.data.format == "B" for each in read.buffers)
    assert backend.verify(one.checkpoint_id, expected_digest=receipt.digest).ok
    path = backend.file_path(one.checkpoint_id)
    if path is not None:
        assert {key: len(value) for key, value in opened(path).items()} == {"tensors": len(one.buffers)}
        path.unlink()  # a thousand of them are enough


def opened(path: Path) -> dict[str, list[torch.Tensor]]:
    if path.suffix == ".safetensors":
        return {"tensors": [*safetensors.torch.load_file(path).values()]}
    return {"tensors": [*torch.load(path, weights_only=True)["buffers"].values()]}
