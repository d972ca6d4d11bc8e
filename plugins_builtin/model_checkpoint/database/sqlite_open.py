"""Opens SQLite: the file, its pragmas, its transactions and its schema.

Every commit survives a power loss: WAL with ``synchronous=FULL`` costs one fsync for a transaction. Where the file
system has no WAL (network mounts), the rollback journal takes its place, and a warning says so.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from model_checkpoint.common.fsops import FsOps, typed_errors
from model_checkpoint.common.urls import masked
from model_checkpoint.contracts import RecordStore
from model_checkpoint.database.forking import forget_after_fork
from model_checkpoint.database.sql_store import WRITES, SqlRecordStore
from model_checkpoint.database.sqlite_errors import BUSY, driver_error, primary_code, typed_by
from model_checkpoint.database.sqlite_version import WriteCounter
from model_checkpoint.database.versions import bring_up_to_date
from model_checkpoint.errors import ConfigurationError, RecordStoreError

BUSY_TIMEOUT_S = 30.0
_POOL_SIZE = 8
_RETRY_S = 0.02
_log = logging.getLogger("model_checkpoint")


def open_store(url: str) -> RecordStore:
    """Open the store at `url`; `sqlite.open_sqlite` says what it may be and what is raised."""
    location = _parsed(url)
    timeout_s = _timeout_s(location)
    in_memory = location.database in (None, "", ":memory:")
    where = ":memory:" if in_memory else str(location.database)
    is_file = not in_memory and not where.startswith("file:")
    if is_file:
        path = Path(where).expanduser().absolute()  # a later chdir must not lead to another database
        if path.is_dir():
            raise ConfigurationError(
                f"{path} is a directory; a SQLite URL names a file in it: sqlite:///{path}/experiments.db"
            )
        with typed_errors("creating the directory of the database", path.parent):
            FsOps().make_dirs(path.parent)
        where = str(path)
        location = location.set(database=where)
    engine = _engine(location, timeout_s, pool_size=1 if in_memory else _POOL_SIZE)
    typed = typed_by(where, timeout_s)
    try:
        if not in_memory:
            _choose_journal(engine, where, timeout_s)
            forget_after_fork(engine)
        bring_up_to_date(engine, where)
        if is_file:
            _watch_identity(engine, where)
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise typed(error) from driver_error(error)
    except BaseException:
        engine.dispose()
        raise
    return SqlRecordStore(engine, typed, WriteCounter(where) if is_file else None)


def _parsed(url: str) -> URL:
    try:
        location = make_url(url)
    except ArgumentError:
        raise ConfigurationError(f"{masked(url)!r} is no database URL: write sqlite:///experiments.db") from None
    if location.host:
        raise ConfigurationError(
            f"{masked(url)!r} names a host, and SQLite has none: three slashes before a relative path, four before an"
            " absolute one"
        )
    return location


def _timeout_s(location: URL) -> float:
    given = location.query.get("timeout", str(BUSY_TIMEOUT_S))
    try:
        return max(float(str(given)), 0.0)
    except ValueError:
        raise ConfigurationError(f"?timeout={given!r} in a database URL is no number of seconds") from None


def _engine(location: URL, timeout_s: float, *, pool_size: int) -> Engine:
    """Return an engine whose connections any thread may use, one thread at a time.

    A database in memory lives and dies with its one connection, for which threads queue.
    """
    engine = create_engine(
        location,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0 if pool_size == 1 else 56,
        pool_timeout=max(timeout_s, 0.001),
        connect_args={"check_same_thread": False, "timeout": timeout_s},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: DBAPIConnection, record: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin by itself, too late and not IMMEDIATE; see _begin
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    journal = cursor.execute("PRAGMA journal_mode").fetchone()
    # A rollback journal is durable only if its directory is synced too.
    cursor.execute(f"PRAGMA synchronous={'FULL' if journal == ('wal',) else 'EXTRA'}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Take the write lock at once where there will be writes: a lock taken half-way cannot wait, only fail."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _watch_identity(engine: Engine, where: str) -> None:
    """Refuse to write where the file was removed or replaced: what is written to the old one, nobody finds again."""

    def identity() -> tuple[int, int] | None:
        try:
            found = os.stat(where)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    opened = identity()

    def check(connection: Connection) -> None:
        if connection.get_execution_options().get(WRITES) and identity() != opened:
            raise RecordStoreError(
                f"{where} was removed or replaced while it was open: nothing more is written to it. Put it back, or"
                " start again with the database that is to be used"
            )

    event.listen(engine, "begin", check)


def _choose_journal(engine: Engine, where: str, timeout_s: float) -> None:
    """Switch to WAL, once for the file's whole life. Switching ignores the busy timeout, so this waits by itself."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with closing(engine.raw_connection()) as connection:
                cursor = connection.cursor()
                mode = cursor.execute("PRAGMA journal_mode").fetchone()
                if mode != ("wal",):
                    mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()
                    cursor.execute(f"PRAGMA synchronous={'FULL' if mode == ('wal',) else 'EXTRA'}")
                cursor.close()
        except sqlite3.OperationalError as error:
            if primary_code(error) not in BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
            continue
        if mode != ("wal",):
            _log.warning(
                "%s stands on a file system without shared memory for SQLite's write-ahead log (a network mount?):"
                " using the slower rollback journal. Writers will wait for readers; a local disk avoids that",
                where,
            )
        return
