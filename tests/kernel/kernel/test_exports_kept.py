"""An export is made once, used as long as it is what it was made of, and made again otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_checkpoint.kernel import Kernel
from model_checkpoint.testing.record_samples import in_threads

torch = pytest.importorskip("torch", reason="missing: torch")


def opened(folder: Path) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", storage_backend="safetensors", quiet=True)


def weights(path: Path) -> list[float]:
    return torch.load(path, weights_only=True)["model_state_dict"]["w"].tolist()


def test_a_damaged_export_is_made_again(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        path = kernel.checkpoint_path(kernel.save({"model": {"w": torch.ones(3)}}), format="pt")
        for damage in (lambda: os.truncate(path, 100), path.unlink):
            damage()
            assert weights(kernel.checkpoint_path("latest", format="pt")) == [1.0, 1.0, 1.0]


def test_an_export_of_an_earlier_checkpoint_of_that_id_is_made_again(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        exports = kernel.backends.open_elsewhere("pytorch", tmp_path / "checkpoints" / "exports" / "pytorch")
        other = kernel.save({"model": {"w": torch.zeros(3)}})
        kernel.checkpoint_path(other, format="pt")
        saved = kernel.save({"model": {"w": torch.ones(3)}})
        kept = exports.read(other)
        exports.write(type(kept)(saved, kept.tree, kept.buffers, kept.metadata))
        assert weights(kernel.checkpoint_path(saved, format="pt")) == [1.0, 1.0, 1.0]


def test_an_export_says_what_it_was_made_of(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        saved = kernel.save({"model": {"w": torch.ones(3)}})
        held = torch.load(kernel.checkpoint_path(saved, format="pt"), weights_only=True)
        assert held["exported_from"] == {"backend": "safetensors", "digest": kernel.checkpoint(saved).digest}


def test_several_who_want_the_same_export_at_once_all_get_it(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        saved = kernel.save({"model": {"w": torch.ones(3)}})
        paths: list[Path] = []
        in_threads(4, lambda number: paths.append(kernel.checkpoint_path(saved, format="pt")))
        assert len(set(paths)) == 1
        assert weights(paths[0]) == [1.0, 1.0, 1.0]
