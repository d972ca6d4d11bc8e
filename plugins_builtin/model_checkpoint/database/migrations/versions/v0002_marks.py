"""Pins, notes and aliases of checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "checkpoint_marks",
        sa.Column("checkpoint_key", KEY, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_key"],
            ["checkpoints.key"],
            name=op.f("fk_checkpoint_marks_checkpoint_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("checkpoint_key", "kind", "name", name=op.f("pk_checkpoint_marks")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_checkpoint_marks_kind_name"), "checkpoint_marks", ["kind", "name"])
