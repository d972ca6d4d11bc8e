"""Pins, notes and aliases: the statements, each on a connection whose transaction the store has begun."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from model_checkpoint.contracts import CheckpointRecord, Mark
from model_checkpoint.database.best import experiment_key
from model_checkpoint.database.checkpoint_rows import checkpoint_rows, load_checkpoints
from model_checkpoint.database.checkpoints import key_of, mark_damaged
from model_checkpoint.database.schema import checkpoint_marks, checkpoint_tags, checkpoints
from model_checkpoint.errors import ConfigurationError


def apply_mark(connection: Connection, mark: Mark) -> None:
    """Let a mark hold. Raises ``CheckpointNotFoundError``, ``ConfigurationError`` for a kind that is unknown."""
    if mark.kind == "damage":
        mark_damaged(connection, mark.checkpoint_id, mark.value or "")
        return
    key = key_of(connection, mark.checkpoint_id)
    table, own = (
        (checkpoint_tags, {"name": mark.name})
        if mark.kind == "tag"
        else (checkpoint_marks, {"kind": mark.kind, "name": mark.name})
    )
    if mark.kind not in ("tag", "pin", "note", "alias"):
        raise ConfigurationError(f"a mark of the kind {mark.kind!r} is not known here")
    statement = delete(table).where(table.c.checkpoint_key == key, *(table.c[k] == value for k, value in own.items()))
    connection.execute(statement)
    if mark.value is not None:
        connection.execute(insert(table).values(checkpoint_key=key, value=mark.value, **own))


def find_alias(connection: Connection, name: str, experiment_id: str | None) -> CheckpointRecord | None:
    """Return the newest checkpoint with that alias, or None."""
    named = select(checkpoint_marks.c.checkpoint_key)
    named = named.where(checkpoint_marks.c.kind == "alias", checkpoint_marks.c.name == name)
    statement = checkpoint_rows().where(checkpoints.c.key.in_(named)).order_by(checkpoints.c.key.desc()).limit(1)
    if experiment_id is not None:
        statement = statement.where(checkpoints.c.experiment_key == experiment_key(experiment_id))
    found = load_checkpoints(connection, statement)
    return found[0] if found else None
