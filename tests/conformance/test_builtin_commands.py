"""Every built-in command keeps every rule of the kit for commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_checkpoint.cli.plugin import register_commands
from model_checkpoint.cli.scaffold.command import new
from model_checkpoint.contracts import CommandDescriptor
from model_checkpoint.kernel import Kernel
from model_checkpoint.testing.command import CommandTests

COMMANDS = {each.name: each for each in register_commands(kernel=None)}
COMMANDS.setdefault("new", CommandDescriptor("new", lambda: new, "begins a plugin"))
ONCE = {"export": "replaces nothing", "new": "replaces nothing", "demo": "trains for a while"}
ORDINARY = {
    "best": ["--metric", "val_loss"],
    "completion": ["bash"],
    "config": ["show"],
    "diff": ["latest", "best:val_loss"],
    "doctor": [],
    "hooks": ["list"],
    "import": ["weights.safetensors"],
    "ls": [],
    "plugins": ["list"],
    "show": ["latest"],
    "store": ["info"],
    "verify": ["latest"],
}


class TestCommands(CommandTests):
    @pytest.fixture(params=sorted(COMMANDS))
    def descriptor(self, request: pytest.FixtureRequest) -> CommandDescriptor:
        return COMMANDS[request.param]

    @pytest.fixture
    def ordinary(self, descriptor: CommandDescriptor, folder: Path) -> list[str]:
        if descriptor.name in ONCE:
            pytest.skip(f"{descriptor.name} {ONCE[descriptor.name]}")
        with Kernel.open("sqlite:///experiments.db", quiet=True) as kernel:
            for step in range(2):
                saved = kernel.save({"model": {"w": np.arange(3.0) + step}}, step=step, metrics={"val_loss": step / 2})
            kernel.export(saved, folder / "weights.safetensors")
        return ORDINARY[descriptor.name]


def test_every_command_is_among_them() -> None:
    assert {*ORDINARY, *ONCE} == set(COMMANDS)
