"""What Alembic runs to get at the database: the connection that `upgrade` was handed, and nothing else."""

from __future__ import annotations

from alembic import context

from model_checkpoint.database.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite cannot alter most of a table: it is rebuilt
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
