"""The tables, for every SQL database.

::

    experiments --< runs --< checkpoints --< checkpoint_metrics   (with run and experiment, so that the best one of
         |            |            |---------< checkpoint_tags      either is one step down an index)
         |            |            |---------< checkpoint_marks     pins, notes, aliases
         |            |            `-------- best_flags           one per run and metric
         |            |--< run_tags, run_params                   run_params: the config, flattened for queries
         |            |--< metrics                                every point, duplicates of a step included
         |            `--< events
         `--< experiment_tags

A ``key`` is the store's own: it counts up in the order of writing, which is what "newest" means here, whatever the
clocks of the writers said. An ``id`` is what everybody else uses.

A change to this file needs a script in ``migrations/versions`` and a new VERSION; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from model_checkpoint.database.values import decode_text, encode_text

VERSION = 2
VERSION_TABLE = "mce_schema_version"


class ExactText(TypeDecorator[str]):
    """Text that may hold anything a ``str`` may (see `values`)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else encode_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else decode_text(value)


_Key = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER PRIMARY KEY counts up by itself there


def _key() -> Column[int]:
    return Column("key", _Key, primary_key=True)


def _owner(name: str, table: str, *, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    reference = ForeignKey(f"{table}.key", ondelete="CASCADE")
    return Column(name, _Key, reference, primary_key=primary_key, nullable=nullable)


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    return Column(name, ExactText(), nullable=nullable, primary_key=primary_key)


def _number(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Double(), nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger(), nullable=nullable)


def _json(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text(), nullable=nullable)  # written and read by `values`


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

schema_version = Table(
    VERSION_TABLE,
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
"""One row, the revision as four digits, in a table just as Alembic makes it."""

experiments = Table(
    "experiments",
    metadata,
    _key(),
    _text("id"),
    _text("name"),
    _number("created_at_s"),
    _integer("run_count"),
    UniqueConstraint("id"),
    UniqueConstraint("name"),
)

runs = Table(
    "runs",
    metadata,
    _key(),
    _text("id"),
    _text("name"),
    _owner("experiment_key", "experiments"),
    _text("status"),
    _number("created_at_s"),
    _number("ended_at_s", nullable=True),
    _integer("last_step", nullable=True),
    _integer("generation"),
    _text("reason"),
    _json("config"),
    _json("environment"),
    UniqueConstraint("id"),
    UniqueConstraint("name"),
    Index(None, "experiment_key", "status"),
)

run_params = Table(
    "run_params",
    metadata,
    _owner("run_key", "runs", primary_key=True),
    _text("name", primary_key=True),
    _number("number", nullable=True),
    _text("text", nullable=True),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _key(),
    _text("id"),
    _owner("run_key", "runs"),
    _owner("experiment_key", "experiments"),
    _integer("sequence"),
    _number("created_at_s"),
    _text("backend"),
    _text("digest"),
    _integer("nbytes"),
    _integer("nbytes_written"),
    _number("duration_s"),
    _integer("epoch", nullable=True),
    _integer("step", nullable=True),
    _text("parent_id", nullable=True),
    _json("metadata"),
    _text("damage"),
    UniqueConstraint("id"),
    UniqueConstraint("run_key", "sequence"),
    Index(None, "experiment_key"),
    Index(None, "step"),
)

checkpoint_metrics = Table(
    "checkpoint_metrics",
    metadata,
    _owner("checkpoint_key", "checkpoints", primary_key=True),
    _text("name", primary_key=True),
    _integer("run_key"),
    _integer("experiment_key"),
    _number("value", nullable=True),
    _text("exact", nullable=True),
    Index(None, "run_key", "name", "value", "checkpoint_key"),
    Index(None, "experiment_key", "name", "value", "checkpoint_key"),
    Index(None, "name", "value", "checkpoint_key"),
    sqlite_with_rowid=False,
)


def _tags(table: str, owner: str, owners: str) -> Table:
    return Table(
        table,
        metadata,
        _owner(owner, owners, primary_key=True),
        _text("name", primary_key=True),
        _text("value"),
        Index(None, "name", "value"),
        sqlite_with_rowid=False,
    )


experiment_tags = _tags("experiment_tags", "experiment_key", "experiments")
run_tags = _tags("run_tags", "run_key", "runs")
checkpoint_tags = _tags("checkpoint_tags", "checkpoint_key", "checkpoints")

checkpoint_marks = Table(
    "checkpoint_marks",
    metadata,
    _owner("checkpoint_key", "checkpoints", primary_key=True),
    _text("kind", primary_key=True),
    _text("name", primary_key=True),
    _text("value"),
    Index(None, "kind", "name"),
    sqlite_with_rowid=False,
)
"""Pins, notes and aliases."""

best_flags = Table(
    "best_flags",
    metadata,
    _owner("run_key", "runs", primary_key=True),
    _text("metric", primary_key=True),
    _text("mode"),
    _owner("checkpoint_key", "checkpoints"),
    _number("value", nullable=True),
    _text("exact", nullable=True),
    Index(None, "checkpoint_key"),
    sqlite_with_rowid=False,
)

metrics = Table(
    "metrics",
    metadata,
    _key(),
    _owner("run_key", "runs"),
    _text("name"),
    _integer("step", nullable=True),
    _number("value", nullable=True),
    _text("exact", nullable=True),
    _number("time_s"),
    _integer("epoch", nullable=True),
    _json("tags", nullable=True),
    Index(None, "run_key", "name", "step"),
)

events = Table(
    "events",
    metadata,
    _key(),
    _owner("run_key", "runs", nullable=True),
    _text("name"),
    _number("time_s"),
    _text("checkpoint_id", nullable=True),
    _json("details"),
    Index(None, "run_key"),
)
