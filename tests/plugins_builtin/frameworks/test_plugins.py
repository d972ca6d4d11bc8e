"""The plugins stand in pyproject.toml, import no framework, and say what to install where one is missing."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from model_checkpoint.frameworks import torch_data
from model_checkpoint.kernel import Kernel

WITHOUT_TORCH = """
import sys

class Uninstalled:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Uninstalled())
from model_checkpoint.errors import MissingExtraError
from model_checkpoint.kernel import Kernel

with Kernel.open("sqlite:///e.db", quiet=True) as kernel:
    saved = kernel.save({"a": [1]})
    assert kernel.load(saved)["a"] == [1]
    try:
        kernel.load(sys.argv[1])
    except MissingExtraError as error:
        print(error)
"""


def test_a_kernel_finds_all_three(tmp_path: Path) -> None:
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True) as kernel:
        provided = {entry for info in kernel.plugins.list() for entry in info.provides}
    assert {"adapter:torch", "adapter:numpy", "adapter:state-dict"} <= provided


def test_a_checkpoint_of_torch_in_a_process_without_it_says_what_to_install(tmp_path: Path) -> None:
    import torch

    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True) as kernel:
        saved = kernel.save({"w": torch.ones(2)})
    command = [sys.executable, "-c", WITHOUT_TORCH, saved]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "pip install 'model-checkpoint-engine[torch]'" in done.stdout


def test_the_example_of_the_loader_runs() -> None:
    assert doctest.testmod(torch_data).failed == 0


@pytest.mark.parametrize("module", ["tree", "sharing", "capture", "rng"])
def test_the_kernels_side_imports_no_framework(module: str) -> None:
    program = f"import sys, model_checkpoint.checkpoint.{module}; print({{'torch', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
