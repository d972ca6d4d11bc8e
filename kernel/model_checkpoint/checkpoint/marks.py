"""Says something of a saved checkpoint: where its storage backend keeps marks there first, then in the records.

So whoever loses the records finds everything in storage (`rebuild`). A mark that only storage has, since a process died
in between, comes into the records with the next one of its kind or with a rebuild.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from model_checkpoint.checkpoint.services import Operation, Services
from model_checkpoint.common.clock import now_s
from model_checkpoint.common.ids import checked_name
from model_checkpoint.contracts import Mark
from model_checkpoint.errors import ConfigurationError
from model_checkpoint.hooks import HookEvent

if TYPE_CHECKING:
    from model_checkpoint.contracts import CheckpointRecord, MarkKeeper

MAX_TEXT = 100_000


def mark(services: Services, record: CheckpointRecord, kind: str, name: str = "", value: str | None = "") -> None:
    """Let a mark of that kind and name hold; None takes it back. Raises ``ConfigurationError``, ``StorageError``."""
    if not isinstance(name, str) or (value is not None and not isinstance(value, str)):
        raise ConfigurationError(f"a {kind} is a string, not {value if isinstance(name, str) else name!r}")
    if len(name) + len(value or "") > MAX_TEXT:
        raise ConfigurationError(f"a {kind} of more than {MAX_TEXT} characters does not belong beside a checkpoint")
    made = Mark(record.id, kind, name, value, now_s())
    backend = services.backends.open(record.backend)
    if backend.capabilities.keeps_marks:
        cast("MarkKeeper", backend).add_mark(made)
    services.records.mark(made)


def move_alias(services: Services, name: str, record: CheckpointRecord | None, experiment_id: str | None) -> None:
    """Let an alias lead to `record`, within its experiment, or to nothing. A hook may veto."""
    checked_name(name, "an alias")
    if ":" in name or name in ("latest", "best"):
        raise ConfigurationError(f"{name!r} cannot be an alias: the word means something else already")
    if services.records.get_checkpoint(name) is not None:
        raise ConfigurationError(f"{name!r} cannot be an alias: it is the id of a checkpoint")
    old = services.records.find_alias(name, experiment_id=record.experiment_id if record else experiment_id)
    if (old and old.id) == (record and record.id):
        return
    operation = Operation(services)
    if (about := record or old) is not None:
        operation.about(about)
    operation.fire(
        HookEvent.ON_ALIAS_CHANGE,
        alias=name,
        model_name="",
        old_checkpoint_id=old.id if old else None,
        new_checkpoint_id=record.id if record else None,
        actor="script",
    )
    if record is not None:
        mark(services, record, "alias", name)
    if old is not None:
        mark(services, old, "alias", name, None)
