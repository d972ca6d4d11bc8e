"""The backend ``pytorch`` keeps every rule of the contract."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_checkpoint.storage.pytorch import open_pytorch
from model_checkpoint.testing.storage_backend import StorageBackendTests
from model_checkpoint.testing.storage_samples import Opener


class TestPytorch(StorageBackendTests):
    @pytest.fixture
    def root(self) -> Iterator[Path]:
        in_memory = (
            "/dev/shm" if Path("/dev/shm").is_dir() else None
        )  # else the tests wait for the disk most of the time
        with tempfile.TemporaryDirectory(dir=in_memory) as folder:
            yield Path(folder, "store")

    @pytest.fixture
    def open_backend(self) -> Opener:
        return open_pytorch
