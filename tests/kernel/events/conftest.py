"""A kernel all of whose events are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from event_log import HIGH_LEVEL, Log, watcher
from model_checkpoint.hooks.contexts import Context
from model_checkpoint.kernel import Kernel


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Kernel, Log]]:
    seen: list[Context] = []
    kernel = Kernel.open(
        f"sqlite:///{tmp_path}/e.db",
        checkpoint_dir=tmp_path / "checkpoints",
        storage_backend="safetensors",  # each of its checkpoints has a file, which the events name
        quiet=True,
        strict=True,
        register=[watcher(seen, HIGH_LEVEL)],
    )
    seen.clear()
    yield kernel, Log(seen)
    kernel.close()
