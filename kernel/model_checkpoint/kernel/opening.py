"""What a kernel needs once, as it opens: which plugins, which record store, and one look at where things go."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from model_checkpoint.checkpoint.refs import FileRefs
from model_checkpoint.checkpoint.services import Services
from model_checkpoint.checkpoint.unrecorded import warn_of_unrecorded
from model_checkpoint.contracts import Versioned
from model_checkpoint.errors import ConfigurationError, KernelError, UnknownSchemeError
from model_checkpoint.hooks import HookEvent, HookManager
from model_checkpoint.kernel.adapters import AdapterSet
from model_checkpoint.kernel.backends import BackendSet
from model_checkpoint.kernel.record_cache import CachedRecords
from model_checkpoint.kernel.records import HookedRecords
from model_checkpoint.plugins import (
    KERNEL_API,
    FoundPlugin,
    PluginSet,
    PluginStates,
    Policy,
    Provided,
    disabled_sentence,
    discover,
    label_of,
)

if TYPE_CHECKING:
    from model_checkpoint.common.fsops import FsOps
    from model_checkpoint.config import KernelConfig
    from model_checkpoint.contracts import RecordStore
    from model_checkpoint.kernel.kernel import Kernel


def add_objects(plugins: PluginSet, objects: Iterable[object]) -> None:
    """Register a script's objects.

    Raises ``ConfigurationError`` for two of one name, which cannot be meant: the second would replace the first.
    """
    added: set[str] = set()
    for plugin in objects:
        label = label_of(plugin)
        if label in added:
            raise ConfigurationError(f"two of the objects to register are called {label!r}: give each its own name")
        added.add(plugins.add(plugin))


def wanted_plugins(wanted: str | Iterable[str]) -> list[FoundPlugin]:
    """Return the installed plugins that ``all``, ``builtin`` or names mean.

    Raises ``KernelError`` for names of no plugin, ``ConfigurationError`` for what is no name.
    """
    found = discover()
    if wanted == "all":
        return found
    if wanted == "builtin":
        return [plugin for plugin in found if plugin.is_builtin]
    names = {wanted} if isinstance(wanted, str) else set(wanted) if isinstance(wanted, list | tuple | set) else {None}
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"plugins={wanted!r} is neither 'all' nor 'builtin' nor a list of names")
    if missing := sorted(names - {plugin.name for plugin in found}):
        raise KernelError(
            f"no plugin is called {', '.join(missing)}; installed: {', '.join(p.name for p in found) or 'none'}"
        )
    return [plugin for plugin in found if plugin.name in names]


def policy_of(config: KernelConfig) -> Policy:
    """Return what settings and user say of plugins."""
    by_user = {name: disabled_sentence(name, why) for name, why in PluginStates().disabled().items()}
    by_settings = "disabled by disabled_plugins in the settings: take it out there"
    return Policy(
        safe_mode=config.safe_mode,
        trust=config.plugin_trust,
        trusted=frozenset(config.trusted_plugins),
        disabled={**by_user, **dict.fromkeys(config.disabled_plugins, by_settings)},
        in_settings=frozenset(config.disabled_plugins),
    )


class Callers:
    """pluggy's callers of the hooks, by name; plugins that wait for one are activated first."""

    def __init__(self, hooks: HookManager) -> None:
        self._hooks = hooks

    def __getattr__(self, name: str) -> object:
        return self._hooks.caller(name)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a kernel is put together from."""

    backends: BackendSet
    records: HookedRecords
    services: Services


def assemble(
    config: KernelConfig, hooks: HookManager, provided: Provided, metric_modes: Mapping[str, str], fs: FsOps
) -> Parts:
    """Open the record store and wire it up with what the plugins provide.

    Raises ``UnknownSchemeError``, ``UnknownBackendError``, ``PluginLoadError``, ``ConfigurationError``.
    """
    root = _checked_directory(config.storage.checkpoint_dir)
    backends = BackendSet(provided.storage, root, config.storage.backend, fs)
    backends.descriptor(backends.default)  # a wrong name is told now, not at the first save
    records = HookedRecords(_open_records(provided, config), hooks)
    services = Services(
        hooks=hooks,
        records=records,
        adapters=AdapterSet(provided.adapters),
        backends=backends,
        refs=FileRefs(root / "runs", fs),
        metric_modes=metric_modes,
        **({"rank": hooks.ranks.rank, "world_size": hooks.ranks.world_size} if hooks.ranks else {}),
    )
    return Parts(backends, records, services)


def _open_records(provided: Provided, config: KernelConfig) -> RecordStore:
    descriptor = provided.schemes.get(config.database.scheme)
    if descriptor is None:
        raise UnknownSchemeError(config.database.scheme, provided.schemes.names())
    store = descriptor.open(config.database.url)
    return cast("RecordStore", CachedRecords(store)) if isinstance(store, Versioned) else store


def _checked_directory(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ConfigurationError(f"checkpoint_dir {path} is a file: name a directory (argument or MCE_CHECKPOINT_DIR)")
    return path


def announce(kernel: Kernel) -> None:
    """Tell the plugins that the kernel is open, and the user, unless it is to be quiet, where things are."""
    kernel.fire(
        HookEvent.ON_SYSTEM_START,
        config=kernel.config,
        plugins=[info.name for info in kernel.plugins.list()],
        kernel_version=_own_version(),
        kernel_api=KERNEL_API,
    )
    if ":memory:" not in kernel.records.url:
        warn_of_unrecorded(kernel.services, kernel.backends.stored())
    if not kernel.config.quiet:
        root, backend = kernel.config.storage.checkpoint_dir, kernel.backends.default
        print(f"records {kernel.records.url}, checkpoints {root} ({backend})", file=sys.stderr)


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # costs 20 ms: paid at the first open, not at import

    try:
        return version("model-checkpoint-engine")
    except PackageNotFoundError:
        return "unknown"
