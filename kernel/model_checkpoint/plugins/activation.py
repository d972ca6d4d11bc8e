"""What is done with one plugin's code: import it, configure it, register it, start it; and all of that backwards.

::

    import -> Config checked -> configure(config) -> hooks registered -> register_* asked -> start(kernel, exits)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from model_checkpoint import contracts
from model_checkpoint.errors import HookRegistrationError, MissingExtraError, PluginLoadError
from model_checkpoint.hooks.guard import PASSING
from model_checkpoint.plugins.discovery import OWN_DISTRIBUTION, FoundPlugin
from model_checkpoint.plugins.policy import PluginState
from model_checkpoint.plugins.registry import KINDS, Provided
from model_checkpoint.plugins.requirements import CAPABILITY_NAME

if TYPE_CHECKING:
    from model_checkpoint.hooks import HookManager
    from model_checkpoint.plugins.manifest import Manifest

MOST = 1_000
"""Descriptors of one hook of one plugin."""
DESCRIPTORS = {
    "register_storage_backends": "StorageBackendDescriptor",
    "register_record_stores": "RecordStoreDescriptor",
    "register_framework_adapters": "FrameworkAdapterDescriptor",
    "register_analyzers": "AnalyzerDescriptor",
    "register_codecs": "CodecDescriptor",
    "register_commands": "CommandDescriptor",
    "register_save_decisions": "SaveDecisionDescriptor",
}
"""What the registration hooks return whose kind has a contract; the others return anything that has a name."""


class TakenDownError(PluginLoadError):
    """It was taken down while it came up: by itself, by a hook, or because it was late."""


@dataclass(slots=True, eq=False)
class Plugin:
    """One plugin of one kernel, as it stands now."""

    found: FoundPlugin
    origin: str
    """``builtin``, ``installed`` or ``script``."""
    state: PluginState = PluginState.REGISTERED
    reason: str = ""
    notes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Plugins that must be active before it is."""
    obj: object = None
    config: object = None
    exits: ExitStack = field(default_factory=ExitStack)
    cause: BaseException | None = None
    is_started: bool = False
    is_coming_up: bool = False
    attempt: object = None
    """Stands for the time that it comes up or is up; another one, or None, once it was taken down."""

    @property
    def name(self) -> str:
        """The name of its entry point."""
        return self.found.name

    @property
    def manifest(self) -> Manifest | None:
        """What it declares."""
        return self.found.manifest

    @property
    def section(self) -> str:
        """The name of its section in the configuration."""
        return (self.manifest.config if self.manifest else "") or self.name

    @property
    def waits(self) -> bool:
        """Whether it says when it is needed, so that nothing of it is imported before."""
        return self.manifest is not None and bool(self.manifest.hooks or self.manifest.provides)

    @property
    def promised(self) -> tuple[str, ...]:
        """What its manifest says that it provides."""
        return self.manifest.provides if self.manifest else ()


def bring_up(
    plugin: Plugin,
    hooks: HookManager,
    kernel: object,
    provided: Provided,
    section: Callable[[Plugin, type | None], object],
) -> None:
    """Import, configure and register a plugin, and ask it what it provides.

    Raises whatever goes wrong; then `take_down` removes what is left.
    """
    attempt, obj = plugin.attempt, _loaded(plugin)
    _go_on(plugin, attempt)
    plugin.obj = obj
    schema = getattr(obj, "Config", None)
    config = section(plugin, schema if isinstance(schema, type) else None)
    call_optional(obj, "configure", {"config": config})
    _go_on(plugin, attempt)
    plugin.config = config
    hooks.register(obj, name=plugin.name, arrived=False)
    implemented = hooks.hooks_of(plugin.name)
    if plugin.origin == "script" and not implemented:
        raise HookRegistrationError(f"{obj!r} has no hooks: mark its functions with @hookimpl")
    _enter(plugin.name, hooks, kernel, provided, implemented)
    _compare_with_manifest(plugin, provided, implemented)


def start(plugin: Plugin, kernel: object) -> None:
    """Let a plugin begin its work. Raises what it raises, ``TakenDownError`` where it was taken down meanwhile."""
    attempt, exits = plugin.attempt, plugin.exits
    call_optional(plugin.obj, "start", {"kernel": kernel, "exits": exits})
    try:
        _go_on(plugin, attempt)
    except TakenDownError:
        exits.close()
        raise
    plugin.is_started = True


def _go_on(plugin: Plugin, attempt: object) -> None:
    if plugin.attempt is not attempt or attempt is None:
        raise TakenDownError("it was taken down while it came up")


def take_down(plugin: Plugin, hooks: HookManager, provided: Provided) -> BaseException | None:
    """Unwind what a plugin opened and take out its hooks and entries; return what went wrong on the way."""
    failure: BaseException | None = None
    exits, plugin.exits, plugin.attempt = plugin.exits, ExitStack(), None
    try:
        exits.close()
    except PASSING:
        raise
    except BaseException as error:
        failure = error
    for table in provided.tables().values():
        table.remove_plugin(plugin.name)
    if plugin.obj is not None and hooks.is_registered_as(plugin.obj, plugin.name):  # else the name is somebody else's
        hooks.unregister(name=plugin.name)
    plugin.obj = plugin.config = None
    plugin.is_started = False
    return failure


def call_optional(plugin: object, method: str, arguments: Mapping[str, object]) -> object:
    """Call what a plugin may define, with those of `arguments` that it takes. Raises ``PluginLoadError``."""
    function = getattr(plugin, method, None)
    if function is None or isinstance(getattr(function, "model_checkpoint_impl", None), dict):
        return None
    if not callable(function):
        raise PluginLoadError(f"its {method} is a {type(function).__name__} and cannot be called")
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return function(**arguments)
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    known = {each.name: arguments[each.name] for each in parameters if each.name in arguments}
    if any(each.default is each.empty and each.name not in known for each in positional):
        raise PluginLoadError(f"its {method} takes {', '.join(arguments)} and nothing else")
    return function(**known)


def _loaded(plugin: Plugin) -> object:
    try:
        obj = plugin.found.load()
        return obj() if isinstance(obj, type) and plugin.origin != "script" else obj
    except ModuleNotFoundError as error:
        extra = plugin.manifest.extra if plugin.manifest else ""
        if not extra:
            raise
        distribution = plugin.found.distribution
        if distribution == OWN_DISTRIBUTION:
            raise MissingExtraError(f"the plugin {plugin.name!r} lacks {error.name!r}, and", extra) from error
        raise PluginLoadError(f"it lacks {error.name!r}: pip install '{distribution}[{extra}]'") from error


def _enter(name: str, hooks: HookManager, kernel: object, provided: Provided, implemented: tuple[str, ...]) -> None:
    for hook, table in provided.tables().items():
        if hook not in implemented:
            continue
        for number, item in enumerate(cast("Iterable[object]", hooks.call_one(name, hook, kernel=kernel) or ())):
            if number == MOST:
                raise PluginLoadError(f"its {hook} returned more than {MOST} descriptors")
            for key in _names(hook, item):
                table.add(key, item, name)


def _names(hook: str, item: object) -> tuple[str, ...]:
    """Return what a descriptor is entered under. Raises ``PluginLoadError`` where that is no name."""
    _check(hook, item)
    schemes = getattr(item, "schemes", None)
    names = schemes if isinstance(schemes, tuple | list) and schemes else (getattr(item, "name", None),)
    for each in (schemes,) if isinstance(schemes, str) else names:
        if not isinstance(each, str) or not CAPABILITY_NAME.fullmatch(each):
            shown = repr(each)[:80]
            raise PluginLoadError(f"its {hook} returned a {type(item).__name__} called {shown}: that is no name")
    return (schemes,) if isinstance(schemes, str) else tuple(names)


def _check(hook: str, item: object) -> None:
    wanted, name = DESCRIPTORS.get(hook), getattr(item, "name", None)
    if wanted is not None and not isinstance(item, getattr(contracts, wanted)):
        raise PluginLoadError(f"its {hook} returned a {type(item).__name__}, not a {wanted}")
    if wanted is None and not (isinstance(name, str) and name):
        raise PluginLoadError(f"its {hook} returned a {type(item).__name__} without a name, not a descriptor")


def _compare_with_manifest(plugin: Plugin, provided: Provided, implemented: tuple[str, ...]) -> None:
    if plugin.manifest is None:
        return
    entered = {entry for table in provided.tables().values() for entry in table.of_plugin(plugin.name)}
    if missing := [each for each in plugin.promised if provided.table_of(each) and each not in entered]:
        raise PluginLoadError(
            f"plugin.toml says that it provides {', '.join(missing)}, and it does not: correct `provides`"
        )
    notes = []
    if plugin.manifest.provides and (extra := sorted(entered.difference(plugin.promised))):
        notes.append(
            f"it provides {', '.join(extra)} too: say so in `provides`, or nobody finds it before it is active"
        )
    declared = set(plugin.manifest.hooks or ())
    if plugin.waits and (unsaid := sorted(set(implemented) - declared - set(KINDS))):
        notes.append(f"it implements {', '.join(unsaid)} too: say so in `hooks`, or its first calls are missed")
    if vain := sorted(declared - set(implemented)):
        notes.append(f"`hooks` names {', '.join(vain)}, which it does not implement")
    plugin.notes = (*plugin.notes, *notes)
