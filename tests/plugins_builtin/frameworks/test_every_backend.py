"""What the adapters describe survives every storage backend, opened again by another kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model_checkpoint.frameworks.torch_data import ResumableLoader
from model_checkpoint.frameworks.torch_memory import DTYPES, QUANTIZED
from model_checkpoint.kernel import Kernel

BACKENDS = ("vault", "safetensors", "pytorch", "memory")


def reloaded(backend: str, folder: Path, objects: dict[str, Any]) -> Any:
    url = f"sqlite:///{folder}/e.db"
    with Kernel.open(url, storage_backend=backend, quiet=True) as kernel:
        saved = kernel.save(objects)
        if backend == "memory":
            return kernel.load(saved)
    with Kernel.open(url, storage_backend=backend, quiet=True) as kernel:
        return kernel.load(saved)


@pytest.mark.filterwarnings("ignore:.*ComplexHalf.*", "ignore:Sparse .* beta")
@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_of_every_kind_come_back(backend: str, tmp_path: Path) -> None:
    memory = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {word: torch.zeros(2, 3, dtype=dtype) for word, dtype in DTYPES.items() if dtype not in QUANTIZED}
    views = [memory, memory[1:], memory.permute(2, 0, 1), torch.ones(()).expand(10**6), memory[0, 0, :2]]
    last = nn.Parameter(torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last))
    report = reloaded(
        backend, tmp_path, {"t": tensors, "views": views, "last": last, "sparse": [torch.eye(3).to_sparse_csr()]}
    )
    for word, back in report["t"].items():
        assert (back.dtype, back.shape) == (DTYPES[word], (2, 3))
    assert report["last"].stride() == last.stride()
    assert isinstance(report["last"], nn.Parameter)
    assert torch.equal(report["sparse"][0].to_dense(), torch.eye(3))
    back = report["views"]
    assert [view.stride() for view in back] == [view.stride() for view in views]
    back[0].zero_()
    assert not back[1].any()
    assert not back[2].any()
    assert not back[4].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_of_every_kind_come_back(backend: str, tmp_path: Path) -> None:
    memory = np.arange(24.0).reshape(2, 3, 4)
    arrays = [
        memory, memory[:, ::-1], np.asfortranarray(memory), np.arange(3, dtype=">f4"), np.array(["ab", "c"]),
        np.array(5, "M8[s]"), np.float32(0.5), np.zeros((0, 2)), np.zeros(2, [("a", "i1"), ("b", "f8")]),
        np.longdouble(3), np.float16([1, 2]),
    ]  # fmt: skip
    back = reloaded(backend, tmp_path, {"a": arrays})["a"]
    for one, other in zip(arrays, back, strict=True):
        assert type(other) is type(one)
        assert other.dtype == one.dtype
        assert other.tobytes() == one.tobytes()
    back[0][...] = 7
    assert (back[1] == 7).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nested_objects_and_a_loader_are_restored_in_place(backend: str, tmp_path: Path) -> None:
    def make(seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        loader = ResumableLoader(torch.arange(9), batch_size=2, shuffle=True)
        return {"parts": {"ema": nn.Linear(2, 2), "rng": np.random.default_rng(seed), "n": seed}, "loader": loader}

    source, live = make(1), make(2)
    next(iter(source["loader"]))
    ema = live["parts"]["ema"]
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", storage_backend=backend, quiet=True) as kernel:
        kernel.load(kernel.save(source), into=live)
    assert live["parts"]["ema"] is ema
    assert torch.equal(ema.weight, source["parts"]["ema"].weight)
    assert live["parts"]["n"] == 1
    assert live["parts"]["rng"].random() == source["parts"]["rng"].random()
    assert [batch.tolist() for batch in live["loader"]] == [batch.tolist() for batch in source["loader"]]
