"""What SQLite's refusals mean, in the engine's words."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from model_checkpoint.errors import (
    CheckpointEngineError,
    ConfigurationError,
    RecordStoreBusyError,
    RecordStoreDamagedError,
    RecordStoreError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)

BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_READ_ONLY = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)


def primary_code(error: BaseException | None) -> int:
    """Return SQLite's result code without its extended part, or 0 where there is none."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF if isinstance(code, int) else 0


def driver_error(error: Exception) -> BaseException | None:
    """Return the driver's own part of `error`, or None. SQLAlchemy's part carries the statement and its values."""
    return getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else error


def typed_by(where: str, timeout_s: float) -> Callable[[Exception], CheckpointEngineError]:
    """Return the translation for the database at `where` (a path, or what stands for it)."""

    def typed(error: Exception) -> CheckpointEngineError:
        return _typed(error, where, timeout_s)

    return typed


def _typed(error: Exception, where: str, timeout_s: float) -> CheckpointEngineError:
    cause = driver_error(error)
    code = primary_code(cause)
    if isinstance(error, PoolTimeoutError):
        return RecordStoreBusyError(
            f"all connections to {where} were in use for {timeout_s:g} s by other threads of this process: use fewer"
            " threads, or open the URL with a longer ?timeout=SECONDS"
        )
    if code in BUSY:
        return RecordStoreBusyError(
            f"{where} was locked by another process for longer than {timeout_s:g} s: see which one holds a transaction"
            " open, or open the URL with a longer ?timeout=SECONDS"
        )
    if code in _DAMAGED:
        return RecordStoreDamagedError(
            f"{where} is not a sound SQLite database ({cause}). Keep a copy, then try to recover it with"
            f" `sqlite3 {where} .recover | sqlite3 recovered.db`, or restore a backup; checkpoint files are untouched"
        )
    if code == sqlite3.SQLITE_ERROR and str(cause).startswith(("no such table", "no such column")):
        return RecordStoreDamagedError(
            f"{where} lacks a part of its schema ({cause}): something else changed it. Restore a backup, or open a new"
            " database; checkpoints on disk are untouched"
        )
    if code in _READ_ONLY or (code == sqlite3.SQLITE_CANTOPEN and _cannot_write(where)):
        return StorageReadOnlyError(
            f"{where} cannot be written ({cause}): change the permissions of the file and of its directory (SQLite"
            " writes beside it), or choose another database_url"
        )
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_space(where)):
        return StorageFullError(
            f"no space left for {where} ({cause}). Nothing of the transaction was kept; free some space and retry"
        )
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return StorageError(f"{where} cannot be read or written ({cause}): check its disk, and that it is a file")
    if code == sqlite3.SQLITE_TOOBIG:
        return ConfigurationError(f"a value is too large for {where} ({cause}): store it as a file, and its name here")
    kind = type(cause or error).__name__
    return RecordStoreError(f"{where} refused the operation: {kind}{f': {cause}' if cause else ''}")


def _cannot_write(where: str) -> bool:
    path = Path(where)
    target = path if path.exists() else path.parent
    return target.exists() and not os.access(target, os.W_OK)


def _no_space(where: str) -> bool:
    try:
        return shutil.disk_usage(Path(where).parent).free < 1 << 20
    except OSError:
        return False
