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


@hookimpl
def register_record_stores(kernel: object) -> list[RecordStoreDescriptor]:
    """Provide the scheme ``sqlite``."""
    return [RecordStoreDescriptor(("sqlite",), open_sqlite, "one file in WAL mode, shared by threads and processes")]
