"""Puts a changed configuration into force: everything is checked first, then one reference is swapped.

::

    read anew -> before_config_update -> every check -> every reconfigure -> swap -> after_config_update
                 a veto or an error anywhere: what was reconfigured is put back, in reverse; generation n stays
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, NoReturn, Protocol

from model_checkpoint.config.keys import PLUGINS, Key, dotted, known, leaves, on_one_way, undotted
from model_checkpoint.config.load import Loaded, changed
from model_checkpoint.config.schema import KernelConfig
from model_checkpoint.errors import ConfigProblems, ConfigurationError
from model_checkpoint.hooks.events import HookEvent

log = logging.getLogger(__name__)


class Participant(Protocol):
    """Something that has settings of its own to check, and takes over a change while it runs."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def check(self, new: KernelConfig) -> None:
        """Raise where `new` cannot be used."""

    def reconfigure(self, old: KernelConfig, new: KernelConfig) -> Iterable[str] | None:
        """Go over from `old` to `new`; return the keys that count from the next start only.

        To go back it is called the other way round.
        """


class ConfigSwap:
    """Holds the snapshot in force. Readers take `current` once per operation; changes are made one at a time.

    Args:
        loaded: what is in force at first.
        reread: reads the files, the environment and the arguments anew.
        fire: called with an event and its fields.
        participants: in the order in which they are reconfigured.
    """

    def __init__(
        self,
        loaded: Loaded,
        reread: Callable[[], Loaded],
        fire: Callable[..., object],
        participants: Callable[[], Iterable[Participant]],
    ) -> None:
        self.current: KernelConfig = loaded.config
        self.loaded = loaded
        """What was read last and accepted: settings that need a restart hold here already, and not in `current`."""
        self._reread, self._fire, self._participants = reread, fire, participants
        self._changes: dict[str, object] = {}
        self._lock, self._pid = threading.RLock(), os.getpid()
        self._changing = False
        self.coming: KernelConfig | None = None
        """The snapshot that is being taken over: a plugin that is activated meanwhile is configured with it."""

    def reload(self, origin: str = "script") -> bool:
        """Read everything anew and put it into force; return whether anything changed.

        What `update` changed stays changed. Raises ``ConfigurationError`` or ``OperationVetoed``, with the generation
        kept. A file that is gone or empty and was not is such an error: somebody may be writing it, and what was
        meant to be deleted is deleted at the next start.
        """

        def read() -> Loaded:
            new = self._reread()
            self._refuse_lost_files(new)
            self._drop_what_is_enforced(new)
            return changed(new, self._changes) if self._changes else new

        return self._change(origin, read, {})

    def update(self, changes: Mapping[str, object], origin: str = "script") -> bool:
        """Change settings, dotted key -> value, until the kernel closes; return whether anything changed.

        Raises ``ConfigurationError`` or ``OperationVetoed``, with the generation kept.
        """
        given = dict(changes)
        return self._change(origin, lambda: changed(self.loaded, given), given)

    def _change(self, origin: str, read: Callable[[], Loaded], changes: Mapping[str, object]) -> bool:
        if self._pid != os.getpid():  # forked, perhaps in the middle of a change that another thread made
            self._lock, self._pid, self._changing, self.coming = threading.RLock(), os.getpid(), False, None
        with self._lock:
            if self._changing:
                raise ConfigurationError(
                    "the configuration is being changed by this thread: a hook or plugin that takes part in a change"
                    " cannot make another one; do it in after_config_update"
                )
            self._changing = True
            try:
                try:
                    loaded = read()
                except ConfigurationError as error:
                    self._refuse(error, origin)
                old, asked = self.current, self.loaded.config
                new, keys, waiting = _in_force(old, asked, loaded.config)
                nothing_new = not keys
                if not nothing_new:
                    self._fire(HookEvent.BEFORE_CONFIG_UPDATE, old=old, new=new, changed_keys=keys, origin=origin)
                    self.coming = new
                    waiting += self._reconfigure(old, new, origin)
                    self.current = new
                self.loaded = loaded
                self._changes = {**self._changes, **changes}
            finally:
                self._changing, self.coming = False, None
            if nothing_new:
                return False
            _tell(keys, waiting, origin)
            self._fire(
                HookEvent.AFTER_CONFIG_UPDATE,
                old=old,
                new=new,
                changed_keys=keys,
                origin=origin,
                needs_restart=waiting,
            )
            return True

    def _reconfigure(self, old: KernelConfig, new: KernelConfig, origin: str) -> tuple[str, ...]:
        """Let everybody check and then take over `new`; return what somebody takes over at the next start only."""
        participants = list(self._participants())
        problems: list[str] = []
        for each in participants:
            try:
                each.check(new)
            except ConfigProblems as error:
                problems += error.problems
            except (Exception, SystemExit) as error:
                problems.append(f"{each.name} refuses it: {type(error).__name__}: {error}")
        if problems:
            self._refuse(ConfigProblems(problems), origin)
        done: list[Participant] = []
        waiting: list[str] = []
        for each in participants:
            try:
                waiting += each.reconfigure(old, new) or ()
            except BaseException as error:  # SystemExit and Ctrl-C too: nobody may be left half-way
                self._put_back(done, old, new)
                if not isinstance(error, Exception | SystemExit):
                    raise
                problem = f"{each.name} could not take it over: {type(error).__name__}: {error}"
                self._refuse(ConfigProblems([problem]), origin, error)
            done.append(each)
        return tuple(waiting)

    def _put_back(self, done: list[Participant], old: KernelConfig, new: KernelConfig) -> None:
        for each in reversed(done):
            try:
                each.reconfigure(new, old)
            except (Exception, SystemExit):
                log.exception("%s could not go back to generation %d", each.name, old.generation)

    def _refuse(self, error: ConfigurationError, origin: str, cause: BaseException | None = None) -> NoReturn:
        problems = error.problems if isinstance(error, ConfigProblems) else (str(error),)
        self._fire(
            HookEvent.ON_CONFIG_VALIDATION_ERROR,
            errors=problems,
            source=origin,
            kept_generation=self.current.generation,
        )
        raise error from cause

    def _drop_what_is_enforced(self, new: Loaded) -> None:
        """Give up what `update` changed and an administrator has enforced since."""
        enforced = [name for name in self._changes if on_one_way(undotted(name), new.enforced)]
        for name in enforced:
            log.warning("%s is enforced now; what update() made of it is given up", name)
            del self._changes[name]

    def _refuse_lost_files(self, new: Loaded) -> None:
        lost = [path for path, content in self.loaded.digests.items() if content and not new.digests.get(path)]
        if lost:
            raise ConfigProblems(
                f"{path} is {'empty' if path in new.digests else 'gone'}, and what it said stays in force: write it"
                " anew, or start again without it"
                for path in lost
            )


def _tell(keys: tuple[str, ...], waiting: tuple[str, ...], origin: str) -> None:
    """Say what was taken over, by its keys: values may be secrets."""
    if taken := [key for key in keys if key not in waiting]:
        log.info("settings taken over (%s): %s", origin, ", ".join(taken))
    if waiting:
        log.warning("settings that count from the next start (%s): %s", origin, ", ".join(waiting))


def _in_force(
    old: KernelConfig, asked: KernelConfig, wanted: KernelConfig
) -> tuple[KernelConfig, tuple[str, ...], tuple[str, ...]]:
    """Return the snapshot that follows `old`, the keys that differ from what was `asked` for before, and those of them
    that wait for a restart, as others may from before.
    """
    before, after = _values(old), _values(wanted)
    differ = _differing(_values(asked), after)
    waiting = [key for key in differ if _needs_restart(key)]
    kept: dict[str, Any] = {}
    for key in filter(_needs_restart, _differing(before, after)):
        section = kept.get(key[0], getattr(wanted, key[0]))
        value = before[key]
        kept[key[0]] = replace(section, **{key[1]: value}) if len(key) > 1 else value
    new = replace(wanted, **kept, environment=old.environment, generation=old.generation + 1)
    return new, tuple(map(dotted, differ)), tuple(map(dotted, waiting))


def _differing(before: Mapping[Key, object], after: Mapping[Key, object]) -> list[Key]:
    return [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]


def _needs_restart(key: Key) -> bool:
    return key in known() and known()[key].applies == "restart"


def _values(config: KernelConfig) -> dict[Key, object]:
    found = dict(leaves(config.plugins, (PLUGINS,)))
    for top in fields(config):
        value = getattr(config, top.name)
        if is_dataclass(value):
            found |= {(top.name, each.name): getattr(value, each.name) for each in fields(value)}
        elif (top.name,) in known():
            found[top.name,] = value
    return found
