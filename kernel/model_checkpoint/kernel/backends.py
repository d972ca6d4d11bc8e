"""Storage backends of one kernel, opened when first used, each in its own directory."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.common.fsops import FsOps, FullWriter, typed_errors
from model_checkpoint.contracts import CollectReport
from model_checkpoint.errors import UnknownBackendError

if TYPE_CHECKING:
    from model_checkpoint.contracts import StorageBackend, StorageBackendDescriptor
    from model_checkpoint.plugins import Registry


class BackendSet:
    """Opens backends by name under one checkpoint directory."""

    def __init__(self, descriptors: Registry[StorageBackendDescriptor], root: Path, default: str, fs: FsOps) -> None:
        self._descriptors, self._root, self._fs = descriptors, root, fs
        self.default = default
        """The name of the backend that is used unless told otherwise."""
        self._open: dict[str, StorageBackend] = {}
        self._lock, self._pid = threading.Lock(), os.getpid()

    def descriptor(self, name: str) -> StorageBackendDescriptor:
        """Return what is known of a backend. Raises ``UnknownBackendError`` that offers the names there are."""
        found = self._descriptors.get(name)
        if found is None:
            raise UnknownBackendError(name, self._descriptors.names())
        return found

    def names(self) -> list[str]:
        """Return the names of all backends that can be had."""
        return self._descriptors.names()

    def opened(self) -> list[str]:
        """Return the names of the backends that are open."""
        return list(self._open)

    def open(self, name: str) -> StorageBackend:
        """Return the backend, opening it at the first call."""
        backend = self._open.get(name)
        if backend is None:
            descriptor = self.descriptor(name)
            if self._pid != os.getpid():  # forked, perhaps while another thread held it
                self._lock, self._pid = threading.Lock(), os.getpid()
            with self._lock:
                backend = self._open.get(name)
                if backend is None:
                    self._prepare_root()
                    backend = self._open[name] = descriptor.open(self._root / name, self._fs)
        return backend

    def open_elsewhere(self, name: str, root: Path) -> StorageBackend:
        """Open a backend in another directory, for exports. The caller closes it."""
        return self.descriptor(name).open(root, self._fs)

    def by_suffix(self, suffix: str) -> str | None:
        """Return the name of the first backend whose files end in `suffix`, or None."""
        for name in self._descriptors.names():
            if self.open(name).capabilities.file_suffix == suffix:
                return name
        return None

    def stored(self) -> list[str]:
        """Return the names of the backends that have something stored here, and of those that are open."""
        return [name for name in self._descriptors.names() if name in self._open or (self._root / name).is_dir()]

    def collect(self) -> CollectReport:
        """Let every backend that was opened, and the default one, remove what no checkpoint needs."""
        self.open(self.default)
        reports = [backend.collect() for backend in [*self._open.values()]]
        return CollectReport(
            tuple(name for report in reports for name in report.removed),
            sum(report.nbytes_freed for report in reports),
            "; ".join(report.skipped for report in reports if report.skipped),
        )

    def close(self) -> None:
        """Close all that were opened."""
        with self._lock:
            for backend in self._open.values():
                backend.close()
            self._open.clear()

    def _prepare_root(self) -> None:
        ignore = self._root / ".gitignore"
        with typed_errors("preparing", self._root):
            self._fs.make_dirs(self._root)
            if self._fs.size(ignore) is None:
                try:
                    with self._fs.create(ignore) as file:
                        FullWriter(file).write(memoryview(b"# checkpoints do not belong in a repository\n*\n"))
                except FileExistsError:  # another process was faster
                    pass
