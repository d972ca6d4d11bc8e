"""Two real processes under ``torch.distributed``: what rank 0's hooks decide counts on both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model_checkpoint.errors import ConfigurationError
from model_checkpoint.frameworks.torch_ranks import TorchRanks

PROGRAM = """
import json, sys
import torch.distributed as dist
from model_checkpoint.errors import OperationVetoed
from model_checkpoint.frameworks.torch_ranks import TorchRanks
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
told, vetoes = [], []
with Kernel.open(f"sqlite:///{folder}/{rank}.db", checkpoint_dir=f"{folder}/{rank}", ranks=TorchRanks()) as k:
    if rank == 0:
        k.hooks.register_hook("score", lambda c: {"metrics": {"score": 0.5}}, [HookEvent.BEFORE_CHECKPOINT_SAVE],
                              condition=lambda c: c.step == 1)
        k.hooks.register_hook("guard", lambda c: c.step < 2, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    k.hooks.register_hook("told", lambda c: told.append([c.rank, c.world_size]), [HookEvent.AFTER_CHECKPOINT_SAVE])
    with k.run("together"):
        metrics = dict(k.checkpoint(k.save({"x": [1]}, step=1)).metrics)
        try:
            k.save({"x": [1]}, step=2)
        except OperationVetoed as veto:
            vetoes.append(veto.plugin)
print(json.dumps({"metrics": metrics, "vetoes": vetoes, "told": told}))
dist.destroy_process_group()
"""


def test_saves_are_decided_by_rank_0(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for rank, child in enumerate(children):
        output, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors[-3000:]
        assert json.loads(output) == {"metrics": {"score": 0.5}, "vetoes": ["guard"], "told": [[rank, 2]]}


def test_without_a_process_group_it_says_what_to_call() -> None:
    with pytest.raises(ConfigurationError, match="init_process_group"):
        TorchRanks()
