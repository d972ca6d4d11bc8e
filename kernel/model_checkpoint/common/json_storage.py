"""Where TinyDB keeps a small JSON document: replaced whole, so that a kill leaves the old one or the new one.

TinyDB's own storage rewrites the file in place; a kill at that moment leaves what is no JSON any more, and so do two
writers.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from tinydb import TinyDB
from tinydb.storages import Storage

from model_checkpoint.errors import RecordStoreDamagedError

LOCK_S = 10.0
"""How long to wait for another process that writes, in seconds."""


class AtomicJSONStorage(Storage):
    """One JSON file, written beside, synced, and renamed. Raises ``RecordStoreDamagedError`` for what is no JSON."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)

    def read(self) -> dict[str, dict[str, Any]] | None:
        """Return the document, or None where there is none."""
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):  # a named pipe would be waited for
                raise RecordStoreDamagedError(f"{self.path} is no file; move it away to start afresh")
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise RecordStoreDamagedError(f"{self.path} cannot be read: {error}") from error
        try:
            document = json.loads(text) if text else None
        except (ValueError, RecursionError) as error:
            raise RecordStoreDamagedError(f"{self.path} is no JSON: {error}; move it away to start afresh") from error
        if document is not None and not isinstance(document, dict):
            raise RecordStoreDamagedError(f"{self.path} holds no JSON object; move it away to start afresh")
        return document

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Replace the document. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temp = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            with open(temp, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, self.path)
        finally:
            temp.unlink(missing_ok=True)
        if os.name != "nt":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class LockedDocument:
    """A TinyDB document that one process at a time changes: ``with document.changing() as db: db.insert(...)``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def reading(self) -> TinyDB:
        """Return the document as it is; close it after reading."""
        return TinyDB(self.path, storage=AtomicJSONStorage)

    @contextlib.contextmanager
    def changing(self) -> Iterator[TinyDB]:
        """Give the document, which nobody else changes meanwhile.

        Raises OSError where it cannot be locked, for `LOCK_S` seconds or at all.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock", timeout=LOCK_S), self.reading() as db:
            yield db
