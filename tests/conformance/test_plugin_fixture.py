"""The fixture for plugin authors gives an open kernel that writes nothing outside the test's own folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_checkpoint.kernel import Kernel
from model_checkpoint.testing.plugin_fixture import kernel as kernel


def test_the_kernel_is_open_and_saves_and_loads(kernel: Kernel) -> None:
    assert Kernel.open_kernels() == [kernel]
    assert kernel.load(kernel.save({"w": 1}))["w"] == 1


def test_what_is_named_without_a_folder_lands_in_the_folder_of_the_test(kernel: Kernel, tmp_path: Path) -> None:
    assert Path(os.getcwd()) == tmp_path
    assert kernel.config.storage.checkpoint_dir == tmp_path / "checkpoints"
    kernel.save({"w": 1})
    assert [*tmp_path.rglob("*.db*")] == []


@pytest.mark.parametrize("turn", range(2))
def test_every_test_has_a_kernel_of_its_own(kernel: Kernel, turn: int) -> None:
    assert kernel.records.list_checkpoints() == []
    kernel.save({"w": turn})


def test_it_is_closed_at_the_end() -> None:
    assert Kernel.open_kernels() == []
