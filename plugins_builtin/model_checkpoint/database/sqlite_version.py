"""Tells in microseconds whether anybody has written to an SQLite file: asks a connection that never writes."""

from __future__ import annotations

import os
import sqlite3
import threading


class WriteCounter:
    """Counts the commits of every other connection, in this process and in others, as far as it is asked."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._begin()

    def _begin(self) -> None:
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._opened = 0

    def version(self) -> tuple[int, int, int] | None:
        """Return a value that no other moment between two commits shares; None where SQLite will not say."""
        if self._pid != os.getpid():  # a connection must not be used across fork
            self._inherited = self._connection
            self._begin()
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(self._where, check_same_thread=False, timeout=0)
                    self._opened += 1
                (number,) = self._connection.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error:
                return None
            return self._pid, self._opened, number

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None
