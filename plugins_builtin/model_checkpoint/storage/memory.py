"""The plugin: checkpoints in memory, for tests and short scripts."""

from __future__ import annotations

from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend, StorageBackendDescriptor
from model_checkpoint.hooks import hookimpl


def open_memory(root: Path, fs: FsOps) -> StorageBackend:
    """Open a new, empty store. Nothing is kept in `root`."""
    from model_checkpoint.storage.memory_store import MemoryStore

    return MemoryStore()


@hookimpl
def register_storage_backends(kernel: object) -> list[StorageBackendDescriptor]:
    """Provide ``memory``."""
    return [StorageBackendDescriptor("memory", open_memory, "nothing on disk; gone when the kernel closes")]
