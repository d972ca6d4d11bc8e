"""What can be set, and what holds when nothing is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from model_checkpoint.common.urls import masked


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseConfig:
    """Where records go."""

    url: str = "sqlite:///experiments.db"
    """``MCE_DATABASE_URL``. May hold a password; `shown` does not."""

    @property
    def shown(self) -> str:
        """The URL with its secrets masked."""
        return masked(self.url)

    def __repr__(self) -> str:
        return f"DatabaseConfig(url={self.shown!r})"


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where and how checkpoints go."""

    checkpoint_dir: Path = field(default_factory=lambda: Path("checkpoints"))
    """``MCE_CHECKPOINT_DIR``; unset, ``checkpoints/`` beside the SQLite file. Always absolute in a snapshot."""
    backend: str = "vault"
    """``MCE_STORAGE_BACKEND``"""
    verify: str = "fast"
    """``MCE_STORAGE_VERIFY``: how deep a load checks: ``fast`` is a fast digest of every byte, ``full`` SHA-256."""


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """How hooks are treated."""

    strict: bool = False
    """``MCE_HOOKS_STRICT``: a hook's error ends the operation instead of being isolated."""


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """One consistent set of settings."""

    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    hooks: HooksConfig = field(default_factory=HooksConfig)
    quiet: bool = False
    """``MCE_QUIET``: do not print where things are when a kernel opens."""
