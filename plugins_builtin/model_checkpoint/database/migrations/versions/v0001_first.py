"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text()


def upgrade() -> None:
    """Create every table in an empty database."""
    op.create_table(
        "experiments",
        sa.Column("key", KEY, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("run_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_experiments")),
        sa.UniqueConstraint("id", name=op.f("uq_experiments_id")),
        sa.UniqueConstraint("name", name=op.f("uq_experiments_name")),
    )
    op.create_table(
        "experiment_tags",
        sa.Column("experiment_key", KEY, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_key"], ["experiments.key"], name=op.f("fk_experiment_tags_experiment_key"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("experiment_key", "name", name=op.f("pk_experiment_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_experiment_tags_name_value"), "experiment_tags", ["name", "value"])
    op.create_table(
        "runs",
        sa.Column("key", KEY, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("experiment_key", KEY, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("ended_at_s", sa.Double(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("config", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_key"], ["experiments.key"], name=op.f("fk_runs_experiment_key"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_runs")),
        sa.UniqueConstraint("id", name=op.f("uq_runs_id")),
        sa.UniqueConstraint("name", name=op.f("uq_runs_name")),
    )
    op.create_index(op.f("ix_runs_experiment_key_status"), "runs", ["experiment_key", "status"])
    op.create_table(
        "checkpoints",
        sa.Column("key", KEY, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("run_key", KEY, nullable=False),
        sa.Column("experiment_key", KEY, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("backend", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("nbytes", sa.BigInteger(), nullable=False),
        sa.Column("nbytes_written", sa.BigInteger(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("parent_id", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=False),
        sa.Column("damage", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_key"], ["experiments.key"], name=op.f("fk_checkpoints_experiment_key"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name=op.f("fk_checkpoints_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("id", name=op.f("uq_checkpoints_id")),
        sa.UniqueConstraint("run_key", "sequence", name=op.f("uq_checkpoints_run_key_sequence")),
    )
    op.create_index(op.f("ix_checkpoints_experiment_key"), "checkpoints", ["experiment_key"])
    op.create_index(op.f("ix_checkpoints_step"), "checkpoints", ["step"])
    op.create_table(
        "events",
        sa.Column("key", KEY, nullable=False),
        sa.Column("run_key", KEY, nullable=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("checkpoint_id", TEXT, nullable=True),
        sa.Column("details", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name=op.f("fk_events_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_run_key"), "events", ["run_key"])
    op.create_table(
        "metrics",
        sa.Column("key", KEY, nullable=False),
        sa.Column("run_key", KEY, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("exact", TEXT, nullable=True),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("tags", TEXT, nullable=True),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name=op.f("fk_metrics_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_metrics")),
    )
    op.create_index(op.f("ix_metrics_run_key_name_step"), "metrics", ["run_key", "name", "step"])
    op.create_table(
        "run_params",
        sa.Column("run_key", KEY, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("text", TEXT, nullable=True),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name=op.f("fk_run_params_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "name", name=op.f("pk_run_params")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_tags",
        sa.Column("run_key", KEY, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name=op.f("fk_run_tags_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "name", name=op.f("pk_run_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_run_tags_name_value"), "run_tags", ["name", "value"])
    op.create_table(
        "best_flags",
        sa.Column("run_key", KEY, nullable=False),
        sa.Column("metric", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("checkpoint_key", KEY, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("exact", TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["checkpoint_key"], ["checkpoints.key"], name=op.f("fk_best_flags_checkpoint_key"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name=op.f("fk_best_flags_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "metric", name=op.f("pk_best_flags")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_best_flags_checkpoint_key"), "best_flags", ["checkpoint_key"])
    op.create_table(
        "checkpoint_metrics",
        sa.Column("checkpoint_key", KEY, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("run_key", sa.BigInteger(), nullable=False),
        sa.Column("experiment_key", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("exact", TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["checkpoint_key"],
            ["checkpoints.key"],
            name=op.f("fk_checkpoint_metrics_checkpoint_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("checkpoint_key", "name", name=op.f("pk_checkpoint_metrics")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_checkpoint_metrics_experiment_key_name_value_checkpoint_key"),
        "checkpoint_metrics",
        ["experiment_key", "name", "value", "checkpoint_key"],
    )
    op.create_index(
        op.f("ix_checkpoint_metrics_name_value_checkpoint_key"),
        "checkpoint_metrics",
        ["name", "value", "checkpoint_key"],
    )
    op.create_index(
        op.f("ix_checkpoint_metrics_run_key_name_value_checkpoint_key"),
        "checkpoint_metrics",
        ["run_key", "name", "value", "checkpoint_key"],
    )
    op.create_table(
        "checkpoint_tags",
        sa.Column("checkpoint_key", KEY, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_key"], ["checkpoints.key"], name=op.f("fk_checkpoint_tags_checkpoint_key"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("checkpoint_key", "name", name=op.f("pk_checkpoint_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_checkpoint_tags_name_value"), "checkpoint_tags", ["name", "value"])
