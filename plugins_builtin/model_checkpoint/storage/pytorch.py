"""The plugin: checkpoints as PyTorch files. Nothing of torch is imported before the first write or read."""

from __future__ import annotations

from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend, StorageBackendDescriptor
from model_checkpoint.hooks import hookimpl


def open_pytorch(root: Path, fs: FsOps) -> StorageBackend:
    """Open the store in `root`, which need not exist yet."""
    from model_checkpoint.storage.file_store import FileStore
    from model_checkpoint.storage.pytorch_file import PytorchFormat

    return FileStore(PytorchFormat(), root, fs)


@hookimpl
def register_storage_backends(kernel: object) -> list[StorageBackendDescriptor]:
    """Provide ``pytorch``."""
    return [
        StorageBackendDescriptor(
            "pytorch",
            open_pytorch,
            "one .pt file for torch.load(weights_only=True) and a manifest, every byte under SHA-256",
        )
    ]
