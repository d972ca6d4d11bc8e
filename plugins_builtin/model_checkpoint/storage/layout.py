"""Where the files of a checkpoint lie, and what it means when one of them is not there.

::

    data/<id><suffix>       published first
    manifests/<id>.json     published last: the commit point. No manifest, no checkpoint
    tmp/                    see `workspace`

What lies under ``data/`` without a manifest is no checkpoint, but two things must be told apart. While a writer has not
committed, the file keeps its second name under ``tmp/``: the id is unknown, and if the writer dies, whoever sweeps its
folder removes both names. Without a second name the checkpoint was committed and its manifest was lost: that is damage,
it is said so, and nothing removes the data. (A file system without hard links has no second names. There, what a killed
writer left looks like damage too, until that id is written again or forgotten.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.storage.committed import Committed, is_id
from model_checkpoint.storage.workspace import Workspace

_MANIFEST = ".json"


class Layout(Committed):
    """The names of the files of one store."""

    def __init__(self, root: Path, suffix: str, fs: FsOps) -> None:
        self.root, self._suffix, self._fs = root, suffix, fs
        self.data_folder, self.manifest_folder = root / "data", root / "manifests"
        self.workspace = Workspace(root / "tmp", fs)

    def manifest(self, checkpoint_id: str) -> Path:
        """Return where the manifest belongs. Raises ``CheckpointNotFoundError`` for what cannot be an id."""
        return self.manifest_folder / f"{self.checked(checkpoint_id)}{_MANIFEST}"

    def data(self, checkpoint_id: str) -> Path:
        """Return where the data file belongs. Raises as `manifest` does."""
        return self.data_folder / f"{self.checked(checkpoint_id)}{self._suffix}"

    def id_of_data_file(self, name: str) -> str | None:
        """Return the id whose data file is called `name`, or None."""
        stem = name.removesuffix(self._suffix)
        return stem if stem != name and is_id(stem) else None

    def ids_of_manifests(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the ids whose manifests are called `names`, passing over everything else."""
        stems = (name.removesuffix(_MANIFEST) for name in names if name.endswith(_MANIFEST))
        return (stem for stem in stems if is_id(stem))

    def has_lost_manifest(self, checkpoint_id: str) -> bool:
        """Say whether there is data that was committed once, and no manifest. Believe it only while `undisturbed`."""
        found = self._fs.identity(self.data(checkpoint_id))
        return found is not None and not self.is_committed(checkpoint_id) and not self.workspace.holds(found)

    @contextlib.contextmanager
    def undisturbed(self, checkpoint_id: str) -> Iterator[None]:
        """Hold the claim of an id while looking a second time at what seems to be damage.

        Between two looks of a reader, one process can forget a checkpoint and another write it again, and what the
        reader pieced together would be that of neither. A store that cannot be written to has nobody who does so.
        """
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                stack.enter_context(self.workspace.claim(checkpoint_id))
            yield

    def refuse_unknown(self, checkpoint_id: str) -> None:
        """Raise ``CheckpointNotFoundError`` if there is neither a manifest nor data that lost it."""
        if self.is_committed(checkpoint_id):
            return
        if not self.has_lost_manifest(checkpoint_id):
            raise self.not_found(checkpoint_id)
