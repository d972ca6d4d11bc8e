"""States that cannot be stored, found, decoded or restored."""

from __future__ import annotations

from collections.abc import Sequence

from model_checkpoint.errors.base import CheckpointEngineError, bullet_list


class CheckpointError(CheckpointEngineError):
    """A checkpoint cannot be saved, found or restored."""


class UnstorableStateError(CheckpointError, TypeError):
    """The state holds leaves that cannot be stored. Nothing was written.

    ``problems`` lists every offending leaf as ``(path, what it is and what to do)``.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        lines = (f"{path}: {why}" for path, why in self.problems)
        super().__init__(f"the state cannot be stored; nothing was written:{bullet_list(lines)}")


class ProtectedCheckpointError(CheckpointError):
    """A checkpoint that is pinned, or that an alias leads to, is not deleted."""


class StateDecodeError(CheckpointError, ValueError):
    """A stored tree names something that this process cannot rebuild."""


class StateMismatchError(CheckpointError, ValueError):
    """The stored state does not fit the objects given. No live byte was changed.

    ``problems`` lists every mismatch as ``(path, what differs)``; ``absent`` names the objects that the checkpoint does
    not have at all. `advice` is what the caller can do.
    """

    def __init__(
        self,
        checkpoint_id: str,
        problems: Sequence[tuple[str, str]],
        *,
        absent: Sequence[str] = (),
        advice: str = "Pass strict=False to restore what fits",
    ) -> None:
        self.checkpoint_id = checkpoint_id
        self.problems, self.absent = tuple(problems), tuple(absent)
        lines = (f"{path}: {why}" for path, why in self.problems)
        super().__init__(
            f"checkpoint {checkpoint_id} does not fit the objects given; nothing was changed."
            f" {advice}:{bullet_list(lines)}"
        )


class PartialRestoreError(CheckpointError, RuntimeError):
    """A restore broke off half-way. ``overwritten`` names the objects that were already changed."""

    def __init__(self, checkpoint_id: str, overwritten: Sequence[str], failed: str) -> None:
        self.checkpoint_id, self.overwritten, self.failed = checkpoint_id, tuple(overwritten), failed
        changed = ", ".join(self.overwritten) or "none"
        super().__init__(
            f"restoring {failed!r} from {checkpoint_id} broke off. Fully overwritten before: {changed};"
            f" {failed!r} may be partly overwritten. Load another checkpoint into the same objects before training on."
        )


class CheckpointNotFoundError(CheckpointError, LookupError):
    """There is no such checkpoint."""


class CheckpointExistsError(CheckpointError, FileExistsError):
    """That id is already stored, and a stored checkpoint is never overwritten."""


class MetricError(CheckpointError, ValueError):
    """A metric that is not a number, or whose better direction cannot be told from its name."""


class NothingToResumeError(CheckpointError, LookupError):
    """The run has checkpoints, and not one of them verifies."""
