"""The names of a vault's folders and manifests."""

from __future__ import annotations

from pathlib import Path

from model_checkpoint.common.clock import now_s
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.common.ids import random_id
from model_checkpoint.errors import (
    IntegrityError,
)
from model_checkpoint.storage.committed import Committed, is_id

_MANIFEST = ".json"


class VaultLayout(Committed):
    """Where things are in one vault."""

    def __init__(self, root: Path, fs: FsOps) -> None:
        self.root, self._fs = root, fs
        self.packs, self.manifests, self.trash = root / "packs", root / "manifests", root / "trash"
        self.forgotten = self.trash / "manifests"

    def refuse_half_a_store(self) -> None:
        """Raise ``IntegrityError`` where there are packs and no folder of manifests: nobody knows what is needed."""
        if self._fs.identity(self.manifests) is None and self._fs.list_dir(self.packs):
            raise IntegrityError(
                f"{self.manifests} is gone, and {self.packs} is there: nothing is written or cleaned up in half a"
                " store. Put the folder back from a copy",
                path=str(self.manifests),
            )

    def make_folders(self) -> None:
        """Make what a writer needs; it is durable afterwards, whoever made it."""
        for folder in (self.packs, self.manifests, self.trash):
            self._fs.make_dirs(folder)
        self._fs.sync_dir(self.root)
        self._fs.sync_dir(self.root.parent)

    def manifest(self, checkpoint_id: str) -> Path:
        """Return where the manifest belongs. Raises ``CheckpointNotFoundError`` for what cannot be an id."""
        return self.manifests / f"{self.checked(checkpoint_id)}{_MANIFEST}"

    def ids(self) -> list[str]:
        """Return the ids of all committed checkpoints."""
        stems = (name.removesuffix(_MANIFEST) for name in self._fs.list_dir(self.manifests) if name.endswith(_MANIFEST))
        return [stem for stem in stems if is_id(stem)]

    def new_forgotten(self, checkpoint_id: str) -> Path:
        """Return where a manifest goes that is moved to trash now."""
        last = self.newest_forgotten(checkpoint_id)
        after = int(last.name.removesuffix(_MANIFEST).rpartition(".")[2][:16], 16) + 1 if last else 0
        return self.forgotten / f"{checkpoint_id}.{max(int(now_s() * 1e6), after):016x}{random_id()}{_MANIFEST}"

    def newest_forgotten(self, checkpoint_id: str) -> Path | None:
        """Return the manifest of that id that came to trash last, or None. Their names sort by the time."""
        names = self._fs.list_dir(self.forgotten)
        own = [name for name in names if name.removesuffix(_MANIFEST).rpartition(".")[0] == checkpoint_id]
        return self.forgotten / own[-1] if own else None

    def refuse_unknown(self, checkpoint_id: str) -> None:
        """Raise ``CheckpointNotFoundError`` if there is no manifest."""
        if not self.is_committed(checkpoint_id):
            raise self.not_found(checkpoint_id)
