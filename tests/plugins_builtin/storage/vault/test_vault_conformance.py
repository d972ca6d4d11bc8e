"""The backend ``vault`` keeps every rule of the contract."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.testing.storage_backend import StorageBackendTests
from model_checkpoint.testing.storage_samples import Opener


class TestVault(StorageBackendTests):
    @pytest.fixture
    def root(self) -> Iterator[Path]:
        in_memory = (
            "/dev/shm" if Path("/dev/shm").is_dir() else None
        )  # else the tests wait for the disk most of the time
        with tempfile.TemporaryDirectory(dir=in_memory) as folder:
            yield Path(folder, "store")

    @pytest.fixture
    def open_backend(self) -> Opener:
        return open_vault

    def stored_files(self, root: Path, checkpoint_id: str) -> list[Path]:
        manifest = root / "manifests" / f"{checkpoint_id}.json"
        content = json.loads(manifest.read_bytes().partition(b"\n")[0])
        return [*sorted({root / "packs" / name for name in content["packs"]}), manifest]

    def is_commit(self, path: Path) -> bool:
        return path.parent.name == "manifests"
