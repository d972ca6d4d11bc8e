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
CREATE TABLE IF NOT EXISTS packs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS tensors (sha256 BLOB NOT NULL, pack INTEGER NOT NULL, xxh3 BLOB NOT NULL,
                                    PRIMARY KEY (sha256, pack)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tensors_by_xxh3 ON tensors (xxh3);
CREATE INDEX IF NOT EXISTS tensors_by_pack ON tensors (pack);
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS uses (sha256 BLOB NOT NULL, user INTEGER NOT NULL, nbytes INTEGER NOT NULL,
                                 PRIMARY KEY (sha256, user)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uses_by_user ON uses (user);
"""
_VERSION = 1


class PackIndex:
    """The cache of one store, as one process sees it. Safe to use from several threads; a fork opens its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    def may_hold(self, xxh3: str) -> bool:
        """Say whether content of that fast digest may be stored."""
        return bool(self._rows("SELECT 1 FROM tensors WHERE xxh3 = ? LIMIT 1", bytes.fromhex(xxh3)))

    def where(self, sha256: str) -> list[str]:
        """Return the names of the packs that are said to hold a tensor, the oldest first."""
        found = self._rows(
            "SELECT name FROM tensors JOIN packs ON id = pack WHERE sha256 = ? ORDER BY name", bytes.fromhex(sha256)
        )
        return [name for (name,) in found]

    def names(self) -> set[str]:
        """Return the names of all packs that are known."""
        return {name for (name,) in self._rows("SELECT name FROM packs")}

    def enter(self, name: str, header: PackHeader) -> None:
        """Take in what a pack holds."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO packs (name) VALUES (?)", (name,))
            (number,) = connection.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()
            rows = ((bytes.fromhex(each.sha256), number, bytes.fromhex(each.xxh3)) for each in header.tensors)
            connection.executemany("INSERT OR IGNORE INTO tensors VALUES (?, ?, ?)", rows)

        self._do(work)

    def drop(self, names: Iterable[str]) -> None:
        """Forget packs."""
        rows = [(name,) for name in names]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM tensors WHERE pack IN (SELECT id FROM packs WHERE name = ?)", rows)
            connection.executemany("DELETE FROM packs WHERE name = ?", rows)

        self._do(work)

    def use(self, checkpoint_id: str, tensors: Iterable[tuple[str, int]]) -> None:
        """Note which tensors a checkpoint needs. Only `freed_by` asks for it; a collection reads the manifests."""
        rows = [(bytes.fromhex(sha256), nbytes) for sha256, nbytes in tensors]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO users (name) VALUES (?)", (checkpoint_id,))
            (number,) = connection.execute("SELECT id FROM users WHERE name = ?", (checkpoint_id,)).fetchone()
            connection.executemany(f"INSERT OR IGNORE INTO uses VALUES (?, {number:d}, ?)", rows)

        self._do(work)

    def unuse(self, checkpoint_id: str) -> None:
        """Forget what a checkpoint needs."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM uses WHERE user IN (SELECT id FROM users WHERE name = ?)", (checkpoint_id,))
            connection.execute("DELETE FROM users WHERE name = ?", (checkpoint_id,))

        self._do(work)

    def users(self) -> set[str]:
        """Return the ids of all checkpoints that are known."""
        return {name for (name,) in self._rows("SELECT name FROM users")}

    def freed_by(self, checkpoint_id: str) -> int:
        """Return the bytes of the tensors that no other checkpoint needs."""
        statement = """
            SELECT COALESCE(SUM(nbytes), 0) FROM uses AS own JOIN users ON id = own.user WHERE name = ?
            AND NOT EXISTS (SELECT 1 FROM uses AS other WHERE other.sha256 = own.sha256 AND other.user != own.user)
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
            except sqlite3.OperationalError:  # no room or no right to write here: this process keeps its own
                pass
            except sqlite3.DatabaseError:  # damaged, or of another kind: it is only a cache
                self.close()
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        os.unlink(f"{self._path}{suffix}")
                with contextlib.suppress(sqlite3.Error):
                    return self._attempt(work)
            self.close()
            self._path = Path(":memory:")
            return self._attempt(work)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = _connect(self._path), os.getpid()
        with self._connection:
            return work(self._connection)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level="IMMEDIATE")
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # a power cut may ruin it: it is built again
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"version {version} of the index is not known here")
        if version == 0:
            connection.executescript(_SCHEMA + f"PRAGMA user_version = {_VERSION};")
    except BaseException:
        connection.close()
        raise
    return connection
