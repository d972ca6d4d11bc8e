"""How a checkpoint appears, disappears, and is cleaned up after; the order is what makes it safe.

::

    publish   fsync(tmp/<writer>/) -> claim the id -> data/<id> -> fsync(data/) -> manifests/<id>, exclusively
              -> fsync(manifests/)
    remove    claim the id -> second name of the data -> fsync(tmp/<writer>/) -> manifests/<id> -> fsync(manifests/)
              -> data/<id> -> fsync(data/) -> second name
    sweep     a dead writer's lock -> claim the id -> data/<id>, if it is his and has no manifest -> fsync(data/)
              -> second name

So at every moment, and after a power cut at every moment, data without a manifest has a second name.
A writer of an id that was not committed replaces what another one left there. It may, since it holds the claim of that
id: no live writer is at work on it, and no reader looks at data that no manifest names.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from model_checkpoint.common.fsops import FsOps, publish_new, write_temp
from model_checkpoint.contracts import CollectReport
from model_checkpoint.storage.layout import Layout
from model_checkpoint.storage.workspace import Writer


class Publisher:
    """Changes what is visible in one store. Raises OSError as the file system does, and what `Layout` raises."""

    def __init__(self, layout: Layout, fs: FsOps) -> None:
        self._layout, self._fs = layout, fs

    def begin(self) -> Writer:
        """Return the folder to write in; the first time, make the store's own folders and sweep."""
        layout = self._layout
        writer, is_new = layout.workspace.writer()
        try:
            for folder in (layout.data_folder, layout.manifest_folder):
                self._fs.make_dirs(folder)
            if is_new:  # whoever made the folders may have died before they were durable
                self._fs.sync_dir(layout.root)
                self._fs.sync_dir(layout.root.parent)
        except BaseException:
            layout.workspace.close()
            raise
        if is_new:
            with contextlib.suppress(OSError):  # what others left must not stop this one; `collect` says what is wrong
                self.sweep()
        return writer

    def publish(self, writer: Writer, checkpoint_id: str, temp: Path, content: bytes) -> None:
        """Commit: `temp` becomes the data file and keeps its old name too, `content` the manifest.

        Raises ``CheckpointExistsError``. On any failure neither is left.
        """
        layout, fs = self._layout, self._fs
        path, target = layout.manifest(checkpoint_id), layout.data(checkpoint_id)
        temp_manifest = writer.path(path.name)
        try:
            write_temp(fs, temp_manifest, lambda file: file.write(memoryview(content)))
            fs.sync_dir(writer.folder)
            with layout.workspace.claim(checkpoint_id):
                layout.refuse_committed(checkpoint_id)
                fs.unlink(target)
                try:
                    publish_new(fs, temp, target)
                    publish_new(fs, temp_manifest, path)
                except BaseException:
                    with contextlib.suppress(OSError):
                        if not layout.is_committed(checkpoint_id):  # whole or not there
                            self._unlink_data(target)
                    raise
        finally:
            with contextlib.suppress(OSError):
                fs.unlink(temp_manifest)

    def discard(self, temp: Path, checkpoint_id: str) -> None:
        """Remove what a broken-off write left, unless ``data/`` has it and no manifest: a sweeper removes both names.

        Once the manifest is there, the second name has done its work.
        """
        with contextlib.suppress(OSError):
            same = self._is_same(temp, self._layout.data(checkpoint_id))
            if not same or self._layout.is_committed(checkpoint_id):
                self._fs.unlink(temp)

    def remove(self, writer: Writer, checkpoint_id: str) -> int:
        """Remove a checkpoint and return the bytes freed. Raises ``CheckpointNotFoundError``."""
        layout, fs = self._layout, self._fs
        path, target = layout.manifest(checkpoint_id), layout.data(checkpoint_id)
        temp = writer.path(target.name)
        with layout.workspace.claim(checkpoint_id):
            layout.refuse_unknown(checkpoint_id)
            nbytes = sum(fs.size(file) or 0 for file in (path, target))
            with contextlib.suppress(OSError):  # from the second name on, without its manifest the data is nobody's
                fs.link(target, temp)
            try:
                fs.sync_dir(writer.folder)
                fs.unlink(path)
                fs.sync_dir(path.parent)
                self._unlink_data(target)
            except BaseException:
                with contextlib.suppress(OSError):
                    if layout.is_committed(checkpoint_id):
                        fs.unlink(temp)
                raise
            with contextlib.suppress(OSError):
                fs.unlink(temp)
        return nbytes

    def sweep(self) -> CollectReport:
        """Remove what writers left that live no more."""
        layout, fs = self._layout, self._fs
        removed: list[str] = []
        nbytes = 0
        for temp in layout.workspace.dead_files():
            checkpoint_id = layout.id_of_data_file(temp.name.partition(".")[2])
            if checkpoint_id is not None and self._is_same(temp, target := layout.data(checkpoint_id)):
                with layout.workspace.claim(checkpoint_id):
                    if not layout.is_committed(checkpoint_id) and self._is_same(temp, target):
                        self._unlink_data(target)
                        removed.append(layout.relative(target))
            if checkpoint_id is None or not self._is_same(temp, layout.data(checkpoint_id)):
                nbytes += fs.size(temp) or 0
            fs.unlink(temp)
            removed.append(layout.relative(temp))
        return CollectReport(tuple(removed), nbytes)

    def _unlink_data(self, target: Path) -> None:
        self._fs.unlink(target)
        self._fs.sync_dir(target.parent)

    def _is_same(self, one: Path, other: Path) -> bool:
        return self._fs.identity(one) == self._fs.identity(other)
