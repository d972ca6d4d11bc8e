"""Which pack holds a tensor: a cache that is built again from the packs' headers whenever it is missing or damaged.

Nothing is believed because it stands here. A pack that is named is looked at before anything relies on it, and one that
is not named costs a second copy until the next collection.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from model_checkpoint.storage.vault.pack import PackHeader

T = TypeVar("T")
_SCHEMA = """
CREATE TABLE packs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE tensors (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, nbytes INTEGER NOT NULL);
CREATE TABLE homes (tensor INTEGER NOT NULL, pack INTEGER NOT NULL, xxh3 BLOB NOT NULL,
                    PRIMARY KEY (tensor, pack)) WITHOUT ROWID;
CREATE INDEX homes_by_xxh3 ON homes (xxh3);
CREATE INDEX homes_by_pack ON homes (pack);
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE uses (user INTEGER NOT NULL, tensor INTEGER NOT NULL, PRIMARY KEY (user, tensor)) WITHOUT ROWID;
CREATE INDEX uses_by_tensor ON uses (tensor);
"""
_VERSION = 2
_LARGEST_LOG_NBYTES = 1024 * 1024


class PackIndex:
    """The cache of one store, as one process sees it. Safe to use from several threads; a fork makes its own.

    `refill` enters what is there into a cache that had to begin with nothing.
    """

    def __init__(self, path: Path, refill: Callable[[], object] = lambda: None) -> None:
        self._path, self._refill = path, refill
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    def may_hold(self, xxh3: str) -> bool:
        """Say whether content of that fast digest may be stored."""
        return bool(self._rows("SELECT 1 FROM homes WHERE xxh3 = ? LIMIT 1", bytes.fromhex(xxh3)))

    def where(self, sha256: str) -> list[str]:
        """Return the names of the packs that are said to hold a tensor, the oldest first."""
        statement = """
            SELECT packs.name FROM tensors JOIN homes ON homes.tensor = tensors.id JOIN packs ON packs.id = homes.pack
            WHERE tensors.sha256 = ? ORDER BY packs.name
        """
        return [name for (name,) in self._rows(statement, bytes.fromhex(sha256))]

    def names(self) -> set[str]:
        """Return the names of all packs that are known."""
        return {name for (name,) in self._rows("SELECT name FROM packs")}

    def enter(
        self, packs: Iterable[tuple[str, PackHeader]], user: str = "", used: Iterable[tuple[str, int]] = ()
    ) -> None:
        """Take in what packs hold, and where `user` is given, which tensors (SHA-256, bytes) that checkpoint needs.

        Only `freed_by` asks for the second; a collection reads the manifests.
        """
        held, needed = list(packs), [(bytes.fromhex(sha256), nbytes) for sha256, nbytes in used]

        def work(connection: sqlite3.Connection) -> None:
            for name, header in held:
                connection.execute("INSERT OR IGNORE INTO packs (name) VALUES (?)", (name,))
                (number,) = connection.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()
                rows = [(bytes.fromhex(each.sha256), each.nbytes, bytes.fromhex(each.xxh3)) for each in header.tensors]
                _enter_tensors(connection, ((sha256, nbytes) for sha256, nbytes, _ in rows))
                connection.executemany(
                    f"INSERT OR IGNORE INTO homes SELECT id, {number:d}, ? FROM tensors WHERE sha256 = ?",
                    ((xxh3, sha256) for sha256, _, xxh3 in rows),
                )
            if user:
                connection.execute("INSERT OR IGNORE INTO users (name) VALUES (?)", (user,))
                (number,) = connection.execute("SELECT id FROM users WHERE name = ?", (user,)).fetchone()
                _enter_tensors(connection, needed)
                connection.executemany(
                    f"INSERT OR IGNORE INTO uses SELECT {number:d}, id FROM tensors WHERE sha256 = ?",
                    ((sha256,) for sha256, _ in needed),
                )

        self._do(work)

    def drop(self, names: Iterable[str]) -> None:
        """Forget packs."""
        rows = [(name,) for name in names]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM homes WHERE pack IN (SELECT id FROM packs WHERE name = ?)", rows)
            connection.executemany("DELETE FROM packs WHERE name = ?", rows)

        if rows:
            self._do(work)

    def unuse(self, checkpoint_id: str) -> None:
        """Forget what a checkpoint needs."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM uses WHERE user IN (SELECT id FROM users WHERE name = ?)", (checkpoint_id,))
            connection.execute("DELETE FROM users WHERE name = ?", (checkpoint_id,))

        self._do(work)

    def tidy(self) -> None:
        """Forget tensors that no pack holds and no checkpoint needs."""
        statement = """
            DELETE FROM tensors WHERE NOT EXISTS (SELECT 1 FROM homes WHERE tensor = tensors.id)
            AND NOT EXISTS (SELECT 1 FROM uses WHERE tensor = tensors.id)
        """
        self._do(lambda connection: connection.execute(statement))

    def users(self) -> set[str]:
        """Return the ids of all checkpoints that are known."""
        return {name for (name,) in self._rows("SELECT name FROM users")}

    def freed_by(self, checkpoint_id: str) -> int:
        """Return the bytes of the tensors that no other checkpoint needs."""
        statement = """
            SELECT COALESCE(SUM(tensors.nbytes), 0) FROM users JOIN uses AS own ON own.user = users.id
            JOIN tensors ON tensors.id = own.tensor WHERE users.name = ?
            AND NOT EXISTS (SELECT 1 FROM uses AS other WHERE other.tensor = own.tensor AND other.user != own.user)
        """
        return int(self._rows(statement, checkpoint_id)[0][0])

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _rows(self, statement: str, *arguments: object) -> list[tuple[str]]:
        return self._do(lambda connection: connection.execute(statement, arguments).fetchall())

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return self._attempt(work)
            except sqlite3.OperationalError as error:
                if "locked" in str(error) or "busy" in str(error):  # for once as if nothing were known
                    return _with_nothing(work)
            except sqlite3.DatabaseError:  # damaged, or of another kind: it is only a cache
                self.close()
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        os.unlink(f"{self._path}{suffix}")
                with contextlib.suppress(sqlite3.Error):
                    self._attempt(lambda connection: None)
                    self._refill()
                    return self._attempt(work)
            self.close()  # no room or no right to write here: this process keeps its own
            self._path = Path(":memory:")
            self._refill()
            return self._attempt(work)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = _connect(self._path), os.getpid()
        with self._connection:
            return work(self._connection)


def _enter_tensors(connection: sqlite3.Connection, tensors: Iterable[tuple[bytes, int]]) -> None:
    connection.executemany("INSERT OR IGNORE INTO tensors (sha256, nbytes) VALUES (?, ?)", tensors)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level="IMMEDIATE")
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # a power cut may ruin it: it is built again
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG_NBYTES}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"version {version} of the index is not known here")
        if version == 0:
            _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _with_nothing(work: Callable[[sqlite3.Connection], T]) -> T:
    with contextlib.closing(_connect(Path(":memory:"))) as connection:
        return work(connection)


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables, unless another process has done so since we looked."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in _SCHEMA.split(";")[:-1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
