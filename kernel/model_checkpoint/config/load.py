"""Settles the settings: defaults, then ``MCE_*`` environment variables, then arguments; the later wins."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from model_checkpoint.common.urls import masked
from model_checkpoint.config.schema import DatabaseConfig, HooksConfig, KernelConfig, StorageConfig
from model_checkpoint.contracts import DEPTHS
from model_checkpoint.errors import ConfigurationError

_SQLITE_FILE = re.compile(r"sqlite(?:\+\w+)?:///(?!:memory:|file:)([^?]+)")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def load_config(
    *,
    database_url: str | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    storage_backend: str | None = None,
    strict: bool | None = None,
    quiet: bool | None = None,
    environ: Mapping[str, str] = os.environ,
) -> KernelConfig:
    """Return the settings that hold now. Raises ``ConfigurationError`` naming the variable at fault."""
    defaults = KernelConfig()
    url: object = database_url or environ.get("MCE_DATABASE_URL") or defaults.database.url
    if not isinstance(url, str):
        raise ConfigurationError(f"database_url is a {type(url).__name__}: write it as text, sqlite:///{url}")
    directory = checkpoint_dir or environ.get("MCE_CHECKPOINT_DIR") or _beside(url)
    if not isinstance(directory, str | os.PathLike) or not isinstance(os.fspath(directory), str):
        raise ConfigurationError(f"checkpoint_dir={directory!r} is no path: give a string or a pathlib.Path")
    if "\0" in os.fspath(directory) or "\0" in url:
        raise ConfigurationError("checkpoint_dir or database_url holds a NUL character, and no path can")
    if storage_backend is not None and not isinstance(storage_backend, str):
        raise ConfigurationError(f"storage_backend={storage_backend!r} is no name: give a string such as 'vault'")
    if "://" in str(directory):
        raise ConfigurationError(
            f"checkpoint_dir={masked(str(directory))!r} is a URL; this version keeps checkpoints in local folders"
        )
    return KernelConfig(
        database=DatabaseConfig(url),
        storage=StorageConfig(
            checkpoint_dir=Path(directory).expanduser().absolute(),
            backend=storage_backend or environ.get("MCE_STORAGE_BACKEND") or defaults.storage.backend,
            verify=_depth(environ.get("MCE_STORAGE_VERIFY") or defaults.storage.verify),
        ),
        hooks=HooksConfig(_flag(strict, environ, "MCE_HOOKS_STRICT")),
        quiet=_flag(quiet, environ, "MCE_QUIET"),
    )


def _beside(url: str) -> Path:
    """Return ``checkpoints/`` beside an SQLite file, or in the working directory for any other record store."""
    file = _SQLITE_FILE.match(url)
    return Path(file[1]).parent / "checkpoints" if file else Path("checkpoints")


def _depth(word: str) -> str:
    if word not in DEPTHS:
        raise ConfigurationError(f"MCE_STORAGE_VERIFY={word!r} is not known: use {', '.join(map(repr, DEPTHS))}")
    return word


def _flag(argument: bool | None, environ: Mapping[str, str], variable: str) -> bool:
    if argument is not None:
        return argument
    word = environ.get(variable, "").strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ConfigurationError(f"{variable}={environ[variable]!r} is neither true nor false: use 1 or 0")
