"""A fixture for the tests of plugins: an open kernel in memory, closed at the end.

::

    from model_checkpoint.testing.plugin_fixture import kernel as kernel     # in a test module or in conftest.py

    def test_it_saves(kernel):
        assert kernel.save({"w": 1})

It loads every installed plugin, the one under test among them, and reads no settings but those of the environment:
the test stands in the empty folder ``tmp_path``, and nothing is written outside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_checkpoint.kernel import Kernel


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """An open kernel: records and checkpoints in memory, files in `tmp_path`."""
    monkeypatch.chdir(tmp_path)  # where what is named without a folder would go
    with Kernel.open(
        "sqlite:///:memory:", checkpoint_dir=tmp_path / "checkpoints", storage_backend="memory", quiet=True
    ) as opened:
        yield opened
