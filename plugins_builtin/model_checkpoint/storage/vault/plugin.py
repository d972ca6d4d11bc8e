"""The plugin: zero-redundancy storage. Nothing of it is imported before the first store is opened."""

from __future__ import annotations

from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend, StorageBackendDescriptor
from model_checkpoint.hooks import hookimpl


def open_vault(root: Path, fs: FsOps) -> StorageBackend:
    """Open the store in `root`, which need not exist yet."""
    from model_checkpoint.storage.vault.store import VaultStore

    return VaultStore(root, fs)


@hookimpl
def register_storage_backends(kernel: object) -> list[StorageBackendDescriptor]:
    """Provide ``vault``."""
    return [StorageBackendDescriptor("vault", open_vault, "every distinct tensor once, in verified packs")]
