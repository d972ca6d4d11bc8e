"""What the tests of the trail share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mce_jsonl_audit.lines import EVENT
from mce_jsonl_audit.trail import Trail, content

Write = Callable[..., None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a trail of this test goes."""
    return tmp_path / "audit.jsonl"


@pytest.fixture
def write(path: Path) -> Write:
    """Appends `count` events to the trail, each by a writer of its own."""

    def append(count: int, **options: object) -> None:
        for number in range(count):
            fields = {"number": number}
            Trail(path, **options).append(content(EVENT, "after_checkpoint_save", 1.0, fields=fields))

    return append
