"""The plugin: checkpoints as safetensors files. Nothing of it is imported before the first store is opened."""

from __future__ import annotations

from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend, StorageBackendDescriptor
from model_checkpoint.hooks import hookimpl


def open_safetensors(root: Path, fs: FsOps) -> StorageBackend:
    """Open the store in `root`, which need not exist yet."""
    from model_checkpoint.storage.file_store import FileStore
    from model_checkpoint.storage.safetensors_file import SafetensorsFormat

    return FileStore(SafetensorsFormat(), root, fs)


@hookimpl
def register_storage_backends(kernel: object) -> list[StorageBackendDescriptor]:
    """Provide ``safetensors``."""
    return [
        StorageBackendDescriptor(
            "safetensors", open_safetensors, "one .safetensors file and a manifest, every byte under SHA-256"
        )
    ]
