"""A checkpoint as a file that other tools open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from model_checkpoint.errors import CheckpointNotFoundError, ConfigurationError, IntegrityError
from model_checkpoint.kernel import Kernel


def opened(folder: Path, backend: str, **options: Any) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", storage_backend=backend, quiet=True, **options)


def test_what_a_backend_keeps_is_given_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path, "safetensors") as kernel:
        saved = kernel.save({"w": np.arange(3)})
        path = kernel.checkpoint_path(saved)
        assert path == kernel.backends.open("safetensors").file_path(saved)
        assert path == kernel.checkpoint_path(saved, format="safetensors") == kernel.checkpoint_path("latest")
        assert safetensors.numpy.load_file(path)["w"].tolist() == [0, 1, 2]
        assert not (tmp_path / "checkpoints" / "exports").exists()


@pytest.mark.parametrize("format", ["pt", ".pt", "pth", "pytorch"])
def test_another_format_is_written_once_under_exports(tmp_path: Path, format: str) -> None:
    torch = pytest.importorskip("torch", reason="missing: torch")
    with opened(tmp_path, "safetensors") as kernel:
        saved = kernel.save({"model": {"w": torch.arange(3)}}, epoch=4, val_loss=0.5)
        path = kernel.checkpoint_path(saved, format=format)
        assert path.is_relative_to(tmp_path / "checkpoints" / "exports")
        assert path.suffix == ".pt"
        held = torch.load(path, weights_only=True)
        assert (held["epoch"], held["val_loss"], held["model_state_dict"]["w"].tolist()) == (4, 0.5, [0, 1, 2])
        written = path.stat().st_mtime_ns
        assert kernel.checkpoint_path(saved, format=format) == path
        assert path.stat().st_mtime_ns == written


def test_a_backend_without_files_gives_safetensors_unless_told_otherwise(tmp_path: Path) -> None:
    with opened(tmp_path, "memory") as kernel:
        path = kernel.checkpoint_path(kernel.save({"w": np.arange(3)}))
        assert path.suffix == ".safetensors"
        assert safetensors.numpy.load_file(path)["w"].tolist() == [0, 1, 2]


def test_a_format_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, "memory") as kernel:
        saved = kernel.save({"a": 1})
        with pytest.raises(ConfigurationError, match="format='onnx' is not known: use 'pt' or 'safetensors'"):
            kernel.checkpoint_path(saved, format="onnx")
        with pytest.raises(CheckpointNotFoundError):
            kernel.checkpoint_path("nobody")


def test_a_format_whose_plugin_is_not_loaded_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, "memory", plugins=["memory", "sqlite"]) as kernel:
        saved = kernel.save({"a": 1})
        for format in ("pt", None):
            with pytest.raises(
                ConfigurationError, match=r"no storage backend writes \S+ files: is its plugin enabled\?"
            ):
                kernel.checkpoint_path(saved, format=format)


def test_a_damaged_checkpoint_is_not_exported(tmp_path: Path) -> None:
    with opened(tmp_path, "safetensors") as kernel:
        saved = kernel.save({"w": np.arange(3)})
        path = kernel.checkpoint_path(saved)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(IntegrityError):
            kernel.checkpoint_path(saved, format="pt")
