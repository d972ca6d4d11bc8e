"""Exports to files of other tools and imports from them, differences, and a look at the whole store."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from model_checkpoint.errors import CheckpointExistsError, ConfigurationError, IntegrityError
from model_checkpoint.kernel import Kernel


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        self.body = nn.Linear(16, 16, dtype=torch.bfloat16)
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embedding.weight


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True, strict=True) as kernel:
        kernel.start_run("s", run="r")
        yield kernel


@pytest.fixture
def model() -> Tied:
    torch.manual_seed(0)
    return Tied()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


@pytest.mark.parametrize("backend", ["vault", "safetensors", "pytorch"])
def test_a_model_is_exported_under_its_own_names(kernel: Kernel, model: Tied, tmp_path: Path, backend: str) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    saved = kernel.save({"model": model, "optimizer": optimizer}, step=1, backend=backend)
    expected = dict(model.state_dict())

    (file,) = kernel.export(saved, tmp_path / "out" / "m.safetensors", object="model")
    assert same(safetensors.torch.load_file(file), expected)
    (file,) = kernel.export(saved, tmp_path / "m.pt", format="torch", object="model")
    assert same(torch.load(file, weights_only=True), expected)
    files = kernel.export(saved, tmp_path / "hf", format="huggingface", object="model", max_shard_nbytes=2000)
    weights = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(files) == len(set(weights.values())) + 1 > 2
    found = {name: safetensors.torch.load_file(tmp_path / "hf" / file)[name] for name, file in weights.items()}
    assert same(found, expected)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("format", "name"), [("safetensors", "m.safetensors"), ("torch", "m.pth"), ("huggingface", "hf")]
)
@pytest.mark.parametrize("limit", [2000, 10**9])
def test_what_was_exported_is_imported(
    kernel: Kernel, model: Tied, tmp_path: Path, format: str, name: str, limit: int
) -> None:
    kernel.save({"model": model}, step=1)
    kernel.export("latest", tmp_path / name, format=format, max_shard_nbytes=limit)
    saved = kernel.import_checkpoint(tmp_path / name, step=2, tags=["imported"])
    fresh = Tied()
    kernel.load(saved, into={"model": fresh})
    assert same(dict(fresh.state_dict()), dict(model.state_dict()))
    record = kernel.checkpoint(saved)
    assert (record.step, record.tags, record.metadata["imported_from"]) == (2, {"imported": ""}, name)


def test_an_export_replaces_nothing_and_leaves_nothing_where_it_fails(
    kernel: Kernel, model: Tied, tmp_path: Path
) -> None:
    kernel.save({"model": model, "names": {"a": np.array(["x"])}}, step=1)
    (tmp_path / "there").write_text("mine")
    with pytest.raises(CheckpointExistsError, match="replaces nothing"):
        kernel.export("latest", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    with pytest.raises(ConfigurationError, match="known: huggingface, safetensors, torch"):
        kernel.export("latest", tmp_path / "x", format="onnx")
    with pytest.raises(ConfigurationError, match="holds no 'modle'; it holds model, names"):
        kernel.export("latest", tmp_path / "x", object="modle")
    with pytest.raises(TypeError, match=r"names\.a"):
        kernel.export("latest", tmp_path / "x")
    assert not list(tmp_path.glob("*x*"))


def test_hostile_files_are_refused_and_nothing_of_them_is_run(kernel: Kernel, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"w": Evil()}))
    torch.save({"w": Evil()}, tmp_path / "evil2.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "half.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "hf").mkdir()
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "hf" / "model-1.safetensors")
    (tmp_path / "hf" / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../evil.safetensors"}})
    )
    for name in ("evil.pt", "evil2.pt", "list.pt", "half.safetensors", "hf"):
        with pytest.raises(IntegrityError, match=name):
            kernel.import_checkpoint(tmp_path / name)
    (tmp_path / "hf" / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    )
    with pytest.raises(IntegrityError, match=r"model-2\.safetensors is gone"):
        kernel.import_checkpoint(tmp_path / "hf")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "text.odd").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name, format in (
        ("text.pt", None),
        ("text.odd", "torch"),
        ("text.odd", "huggingface"),
        ("empty", "huggingface"),
    ):
        with pytest.raises(IntegrityError, match=name):
            kernel.import_checkpoint(tmp_path / name, format=format)
    with pytest.raises(ConfigurationError, match="there is no file or folder"):
        kernel.import_checkpoint(tmp_path / "nothing here")
    with pytest.raises(ConfigurationError, match="cannot be told from its name: say format="):
        kernel.import_checkpoint(tmp_path / "text.odd")
    with pytest.raises(ConfigurationError, match="is no path"):
        kernel.import_checkpoint(None)  # type: ignore[arg-type]
    assert not (tmp_path / "ran").exists()
    assert kernel.checkpoints() == []


@pytest.mark.parametrize("backends", [("vault", "vault"), ("vault", "safetensors"), ("memory", "pytorch")])
def test_a_difference_names_tensors_metrics_and_metadata(kernel: Kernel, backends: tuple[str, str]) -> None:
    a, b, c, d = np.zeros(3), np.ones(3), np.full(3, 2.0), np.full(3, 3.0)
    first = kernel.save({"s": {"a": a, "b": b, "old": c}}, step=1, metrics={"x": 1.0, "y": 2.0}, backend=backends[0])
    second = kernel.save({"s": {"a": a, "b": c, "new": d}}, step=2, metrics={"x": 1.0, "y": 3.0}, backend=backends[1])
    found = kernel.diff(first, second)
    assert (found.added, found.removed, found.changed) == (("s.new",), ("s.old",), ("s.b",))
    assert "s.a" in found.same
    assert found.metrics == {"y": (2.0, 3.0)}
    assert found.metadata["step"] == (1, 2)
    assert kernel.diff(first, first).changed == ()


def test_the_whole_store_is_checked(kernel: Kernel, tmp_path: Path) -> None:
    ids = [kernel.save({"w": np.full(1024, step)}, step=step) for step in range(6)]
    assert kernel.check_store().ok
    parts = [kernel.check_store(depth="fast", subset=f"{part}/3").verified for part in (1, 2, 3)]
    assert sorted(sum(parts, ())) == sorted(ids)
    vault = tmp_path / "checkpoints" / "vault"
    pack = sorted((vault / "packs").iterdir())[0]
    data = bytearray(pack.read_bytes())
    data[8 + int.from_bytes(data[:8], "little")] ^= 1  # whole pages come first
    pack.chmod(0o644)
    pack.write_bytes(data)
    (vault / "manifests" / f"{ids[1]}.json").rename(vault / "manifests" / "stray.json")
    kernel.records.delete_checkpoint(ids[2])
    report = kernel.check_store()
    assert not report.ok
    assert list(report.damaged) == [ids[0]]
    assert report.missing == (ids[1],)
    assert set(report.unrecorded) == {ids[2], "stray"}
    for wrong in ("0/3", "4/3", "x", "1/0", "\u0661/3"):
        with pytest.raises(ConfigurationError, match="is no part"):
            kernel.check_store(subset=wrong)


def test_a_frozen_part_is_stored_once(kernel: Kernel) -> None:
    frozen = np.arange(4_000_000, dtype=np.float32)
    for step in range(10):
        kernel.save({"frozen": {"w": frozen}, "head": {"w": np.full(1000, step, np.float32)}}, step=step)
    (info,) = kernel.store_info()
    assert (info.backend, info.checkpoints) == ("vault", 10)
    assert 9 < info.dedup_ratio < 10
