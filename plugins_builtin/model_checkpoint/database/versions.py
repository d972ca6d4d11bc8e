"""Which version of the schema a database has, and how it gets to the present one.

::

    empty            create everything and stamp it, in one write transaction: of several openers one does it
    VERSION          nothing
    older            Alembic runs the scripts in ``migrations/versions`` (imported only then), in one write transaction
    newer            SchemaVersionError
    somebody else's  ConfigurationError, and not a byte is written
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, insert, inspect, select

from model_checkpoint.database.schema import VERSION, VERSION_TABLE, metadata, schema_version
from model_checkpoint.database.sql_store import WRITES
from model_checkpoint.errors import ConfigurationError, SchemaVersionError


def revision(version: int) -> str:
    """Return a version as Alembic's revision: ``0001``."""
    return f"{version:04d}"


def bring_up_to_date(engine: Engine, where: str) -> None:
    """Create or migrate the schema. Raises ``SchemaVersionError`` and ``ConfigurationError``."""
    with engine.connect() as connection:
        found = _version(connection, where)
    if found == VERSION:
        return
    writer = engine.execution_options(**{WRITES: True})
    with writer.connect() as connection:
        _foreign_keys(connection, enforced=False)  # a table that a script rebuilds would take its children with it
        try:
            with connection.begin():
                found = _version(connection, where)  # whoever held the lock before us may have done it
                if found is None:
                    metadata.create_all(connection, checkfirst=False)
                    connection.execute(insert(schema_version).values(version_num=revision(VERSION)))
                elif found < VERSION:
                    from model_checkpoint.database.migrations.upgrade import upgrade

                    upgrade(connection)
        finally:
            _foreign_keys(connection, enforced=True)


def _version(connection: Connection, where: str) -> int | None:
    """Return the version, 0 where its table is empty, None where there are no tables at all."""
    present = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in present:
        foreign = sorted(present & set(metadata.tables))
        if foreign:
            raise ConfigurationError(
                f"{where} belongs to another program: it has tables named {', '.join(foreign)}, and not the table"
                f" {VERSION_TABLE}. Choose another database_url"
            )
        return None
    text = connection.scalar(select(schema_version.c.version_num))
    version = int(text) if text and text.isdecimal() else 0 if text is None else -1
    if not 0 <= version <= VERSION:
        raise SchemaVersionError(
            f"{where} has schema version {text}, and this installation knows versions up to {revision(VERSION)}:"
            " it was written by a newer one. Upgrade with `pip install -U model-checkpoint-engine`, or choose another"
            " database_url; nothing was changed"
        )
    return version


def _foreign_keys(connection: Connection, *, enforced: bool) -> None:
    """Switch SQLite's enforcement, which works only outside a transaction."""
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(f"PRAGMA foreign_keys={'ON' if enforced else 'OFF'}").close()
