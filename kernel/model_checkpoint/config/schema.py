"""What can be set, what holds when nothing is, and from when on a change counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model_checkpoint.common.urls import masked
from model_checkpoint.contracts import DEPTHS

Applies = Literal["live", "next operation", "restart"]


class Section(Mapping[str, object]):
    """A read-only table of raw settings, tables within it too. Lists are tuples in it, and its repr shows no value."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, object] | None = None) -> None:
        self._items = {key: _frozen(value) for key, value in (items or {}).items()}

    def __getitem__(self, key: str) -> object:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Section({', '.join(self._items)})"


def _frozen(value: object) -> object:
    if isinstance(value, Mapping):
        return value if isinstance(value, Section) else Section(value)
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def setting(
    default: object,
    *,
    applies: Applies = "restart",
    env: str | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare a setting.

    Args:
        default: what holds where nobody sets it.
        applies: from when on a change counts.
        env: its environment variable, where that is not ``MCE_<SECTION>_<KEY>``.
        choices: the only words that it may be.
    """
    return field(default=default, metadata={"applies": applies, "env": env, "choices": choices})


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseConfig:
    """Where records go."""

    url: str = setting("sqlite:///experiments.db")
    """``MCE_DATABASE_URL``. May hold a password; `shown` does not."""

    @property
    def scheme(self) -> str:
        """What the record store is chosen by, such as ``sqlite``."""
        return self.url.partition(":")[0].partition("+")[0]

    @property
    def shown(self) -> str:
        """The URL with its secrets masked."""
        return masked(self.url)

    def __repr__(self) -> str:
        return f"DatabaseConfig(url={self.shown!r})"


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where and how checkpoints go."""

    checkpoint_dir: Path = setting(Path("checkpoints"), env="MCE_CHECKPOINT_DIR")  # noqa: RUF009 - paths do not change
    """``MCE_CHECKPOINT_DIR``; unset, ``checkpoints/`` beside the SQLite file. Always absolute in a snapshot."""
    backend: str = setting("vault", applies="next operation")
    """``MCE_STORAGE_BACKEND``: how new checkpoints are stored: ``vault``, ``safetensors``, ``pytorch``, ``memory``, or
    what a plugin provides."""
    verify: str = setting("fast", applies="next operation", choices=tuple(DEPTHS))
    """``MCE_STORAGE_VERIFY``: how deep a load checks: ``fast`` is a fast digest of every byte, ``full`` SHA-256."""


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """How hooks are treated."""

    strict: bool = setting(False, applies="next operation")
    """``MCE_HOOKS_STRICT``: a hook's error ends the operation instead of being isolated."""


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """One consistent set of settings."""

    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    hooks: HooksConfig = field(default_factory=HooksConfig)
    quiet: bool = setting(False)
    """``MCE_QUIET``: do not print where things are when a kernel opens."""
    required_plugins: tuple[str, ...] = setting(())
    """``MCE_REQUIRED_PLUGINS``: plugins without which a kernel does not open."""
    disabled_plugins: tuple[str, ...] = setting(())
    """``MCE_DISABLED_PLUGINS``: plugins that are not loaded."""
    plugin_trust: str = setting("any", choices=("any", "listed"))
    """``MCE_PLUGIN_TRUST``: ``listed`` loads, of those that are not built in, only the `trusted_plugins`."""
    trusted_plugins: tuple[str, ...] = setting(())
    """``MCE_TRUSTED_PLUGINS``: those that are loaded where `plugin_trust` is ``listed``."""
    plugin_timeout_s: float = setting(30.0, applies="live")
    """``MCE_PLUGIN_TIMEOUT_S``: seconds that a plugin of others may take to come up; 0 is as long as it likes."""
    safe_mode: str = setting("off", choices=("off", "builtin", "none"))
    """``MCE_SAFE_MODE``: ``builtin`` loads no code of third parties, ``none`` no plugin at all."""
    watch_config: bool = setting(True)
    """``MCE_WATCH_CONFIG``: take over a change of a configuration file while the kernel is open."""
    plugins: Mapping[str, Mapping[str, object]] = field(default_factory=Section, hash=False)  # type: ignore[arg-type]
    """The raw sections ``[plugins.NAME]``. Each plugin checks its own; nothing here does."""
    environment: str = "development"
    """``MCE_ENV``: which tables of the files hold besides ``[default]``. No file can set it."""
    generation: int = 0
    """Counts the snapshots that were in force in this process."""
