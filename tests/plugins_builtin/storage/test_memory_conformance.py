"""The backend ``memory`` keeps every rule of the contract that a backend in one object can keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_checkpoint.storage.memory import open_memory
from model_checkpoint.testing.storage_backend import StorageBackendTests
from model_checkpoint.testing.storage_samples import Opener


class TestMemory(StorageBackendTests):
    shared = False

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "store"

    @pytest.fixture
    def open_backend(self) -> Opener:
        return open_memory
