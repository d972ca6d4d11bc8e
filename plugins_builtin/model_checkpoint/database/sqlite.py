"""The plugin: SQLite as a record store. Nothing of SQLAlchemy is imported before the first store is opened."""

from __future__ import annotations

from model_checkpoint.contracts import RecordStore, RecordStoreDescriptor
from model_checkpoint.hooks import hookimpl


def open_sqlite(url: str) -> RecordStore:
    """Open ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``sqlite:///:memory:``, creating it if need be.

    ``?timeout=5`` sets how many seconds to wait while others hold the database locked (30 unless told).
    Raises ``ConfigurationError``, ``SchemaVersionError``, ``RecordStoreBusyError``, ``RecordStoreDamagedError``,
    ``StorageReadOnlyError`` or ``StorageFullError``.
    """
    from model_checkpoint.database.sqlite_open import open_store

    return open_store(url)


def sqlite_exists(url: str) -> bool:
    """Say whether the file of `url` is there and holds our tables; it is only read."""
    import sqlite3
    from contextlib import closing
    from pathlib import Path

    from sqlalchemy import make_url

    name = make_url(url).database or ":memory:"
    if name == ":memory:" or name.startswith("file:"):
        return True
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'mce_schema_version'").fetchone()
    except sqlite3.Error:  # locked or damaged: opening it will tell
        return path.stat().st_size > 0
    return found is not None


@hookimpl
def register_record_stores(kernel: object) -> list[RecordStoreDescriptor]:
    """Provide the scheme ``sqlite``."""
    return [RecordStoreDescriptor(("sqlite",), open_sqlite, "one file in WAL mode, shared by processes", sqlite_exists)]
