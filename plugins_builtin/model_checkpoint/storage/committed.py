"""What every store of files says of its checkpoints: which ids it knows, and the errors for those that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.common.ids import checked_name
from model_checkpoint.errors import CheckpointExistsError, CheckpointNotFoundError, InvalidNameError


class Committed(Protocol):
    """The part that layouts share. A checkpoint exists as long as its manifest does."""

    root: Path
    _fs: FsOps

    def manifest(self, checkpoint_id: str) -> Path:
        """Return where the manifest belongs. Raises ``CheckpointNotFoundError`` for what cannot be an id."""

    def relative(self, path: Path) -> str:
        """Return `path` as reports name it."""
        return path.relative_to(self.root).as_posix()

    def is_committed(self, checkpoint_id: str) -> bool:
        """Say whether there is a manifest."""
        return self._fs.identity(self.manifest(checkpoint_id)) is not None

    def refuse_committed(self, checkpoint_id: str) -> None:
        """Raise ``CheckpointExistsError`` if there is a manifest."""
        if self.is_committed(checkpoint_id):
            raise CheckpointExistsError(
                f"checkpoint {checkpoint_id} exists already in {self.root}, and a stored checkpoint is never"
                " overwritten: save under another id, or delete it first"
            )

    def not_found(self, checkpoint_id: str) -> CheckpointNotFoundError:
        """Return the error to raise for an id that was never written."""
        shown = repr(checkpoint_id) if len(checkpoint_id) <= 200 else f"{checkpoint_id[:200]!r}..."
        return CheckpointNotFoundError(f"there is no checkpoint {shown} in {self.root}")

    def checked(self, checkpoint_id: str) -> str:
        """Return the id. Raises ``CheckpointNotFoundError`` for what cannot be one: it was never written."""
        if not is_id(checkpoint_id):
            raise self.not_found(checkpoint_id)
        return checkpoint_id


def is_id(checkpoint_id: str) -> bool:
    """Say whether a checkpoint may be called so."""
    try:
        checked_name(checkpoint_id, "a checkpoint")
    except InvalidNameError:
        return False
    return True
