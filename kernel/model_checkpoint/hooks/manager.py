"""The one registry and the one dispatcher: pluggy's, with every hook function wrapped once, at registration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy
from pluggy import HookImpl

from model_checkpoint.common.clock import now_s
from model_checkpoint.errors import ContextFieldError, HookRegistrationError, OperationVetoed
from model_checkpoint.hooks.background import BackgroundQueue
from model_checkpoint.hooks.binding import adapter_for
from model_checkpoint.hooks.checks import checked_event, checked_events
from model_checkpoint.hooks.collect import Found, for_event, found_in
from model_checkpoint.hooks.contexts import Context, context_class
from model_checkpoint.hooks.events import HookEvent, HookPriority
from model_checkpoint.hooks.failures import Failures
from model_checkpoint.hooks.marker import HookOptions, OnError
from model_checkpoint.hooks.order import arrange
from model_checkpoint.hooks.ranks import TOGETHER, decide
from model_checkpoint.hooks.record import Shell
from model_checkpoint.hooks.specs import EVENTS, NAMESPACES, PROJECT
from model_checkpoint.hooks.switchboard import Switchboard
from model_checkpoint.hooks.timed import TimedCalls
from model_checkpoint.hooks.waiting import PLACES, Waiting

if TYPE_CHECKING:
    from model_checkpoint.contracts import RankGroup
    from model_checkpoint.hooks.coroutines import Coroutines
    from model_checkpoint.hooks.record import HookRecord


class FireReport(NamedTuple):
    """What came of firing an event."""

    context: Context
    """The context, with what hooks changed."""
    results: tuple[object, ...] = ()
    """What hooks returned, None apart, in the order in which they were called."""


class HookManager(Switchboard):
    """Registers hooks and calls them. Safe to use from several threads.

    Args:
        kernel: what hooks get as ``kernel``.
        strict: let a hook's error end the operation instead of isolating it.
    """

    def __init__(self, kernel: object = None, *, strict: bool = False) -> None:
        super().__init__(PROJECT)
        self.kernel = kernel
        self.watched = False
        self.ranks: RankGroup | None = None
        """With whom this process decides; set before the first event is fired."""
        self.live_events: frozenset[str] = frozenset()
        """Names of the hooks that somebody implements. A hot site asks ``NAME in hooks.live_events`` first."""
        self._waiting = Waiting()
        self._records: dict[str, dict[HookImpl, HookRecord]] = {}
        self._count = 0
        self._registry_lock = threading.RLock()
        self._failures = Failures(self.fire, self._switch_off, strict=strict)
        self._timed = TimedCalls()
        self._background = BackgroundQueue()
        self._coroutines: Coroutines | None = None
        for namespace in NAMESPACES:
            self.add_hookspecs(namespace)

    @property
    def strict(self) -> bool:
        """Whether a hook's error ends the operation instead of being isolated."""
        return self._failures.strict

    @strict.setter
    def strict(self, strict: bool) -> None:
        self._failures.strict = strict

    # Registering

    def wait_for(self, name: str, hooks: Iterable[str], activate: Callable[[], object]) -> None:
        """Keep a place in the order for a plugin, and call `activate` before any of `hooks` is next called.

        It registers the plugin, or gives up; it may be called again meanwhile. Raises ``UnknownEventError``.
        """
        wanted = [hook if self._arguments_of(hook) is not None else checked_event(hook).value for hook in hooks]
        with self._registry_lock:
            place = self._waiting.place_of(name)
            if place is None:
                place, self._count = self._count + 1, self._count + PLACES
            self._waiting.add(name, wanted, activate, place)
            self._refresh()

    def arrived(self, name: str) -> None:
        """Wait for a plugin no longer; its place stays its own."""
        with self._registry_lock:
            self._waiting.drop(name)
            self._refresh()

    def register(self, plugin: object, name: str | None = None, *, arrived: bool = True) -> str:
        """Register the hooks of an object, class or module, and return its name; a name taken already is replaced.

        One that has not `arrived` yet is still waited for by whoever calls its hooks from elsewhere.
        Raises ``HookRegistrationError`` or ``UnknownEventError``, with nothing changed.
        """
        label = name or self.get_canonical_name(plugin)
        return self._add(plugin, label, found_in(plugin, label, self._arguments_of), script=False, arrived=arrived)

    def register_hook(
        self,
        name: str,
        hook: Callable[..., object],
        events: Iterable[HookEvent | str] | HookEvent | str,
        *,
        priority: int = HookPriority.NORMAL,
        condition: Callable[[Any], object] | None = None,
        timeout: float | None = None,
        on_error: OnError = "isolate",
    ) -> str:
        """Call ``hook(context)`` at every one of `events`; return the name.

        Args:
            name: registering a name again, as a notebook cell does that is run twice, replaces the hook.
            condition: called with the context; where it is false the hook is not called.
            priority: see `HookPriority`.
            timeout: seconds after which the operation goes on without the hook.
            on_error: ``isolate``, or ``abort`` to let its error end the operation.

        Raises ``HookRegistrationError``, ``UnknownEventError``.
        """
        if not isinstance(name, str) or not name:
            raise HookRegistrationError(f"a hook's name is a string that is not empty, not {name!r}")
        options = HookOptions(checked_events(events), priority, timeout, on_error)
        found = [for_event(name, event, hook, options) for event in options.events]
        if condition is not None:
            if not callable(condition):
                raise HookRegistrationError(f"condition={condition!r} cannot be called: give a function of the context")
            for each in found:
                each.record.conditions = (condition, *each.record.conditions)
        return self._add(hook, name, found, script=True)

    def register_object_hooks(self, hooks: object, name: str | None = None) -> str:
        """Register the ``@hook_handler`` and ``@hookimpl`` methods of an object and return its name.

        The name is the object's own (`BaseHook.name`), else its class's; another object of that name is replaced.
        Raises ``HookRegistrationError``, also where no method is marked.
        """
        own = getattr(hooks, "name", None)
        label = name or (own if isinstance(own, str) else type(hooks).__name__)
        found = found_in(hooks, label, self._arguments_of)
        if not found:
            raise HookRegistrationError(
                f"{label} has no hooks: mark a method with @hook_handler([HookEvent....]), and give an instance"
            )
        return self._add(hooks, label, found, script=True)

    def unregister_hook(self, name: str) -> bool:
        """Take out what a script registered under `name`; return whether there was anything."""
        shell = self._name2plugin.get(name)
        return isinstance(shell, Shell) and shell.script and self.unregister(name=name) is not None

    def unregister(self, plugin: object = None, name: str | None = None) -> Any:
        """Take out a plugin by itself or by name, and return it; None where there is no such plugin."""
        with self._registry_lock:
            label = name or self.get_name(plugin)
            shell = self._name2plugin.get(label) if label else None
            if not isinstance(shell, Shell):
                return None
            super().unregister(shell, label)
            for hook, known in self._records.items():
                self._records[hook] = {impl: record for impl, record in known.items() if impl.plugin is not shell}
            self._refresh()
            return shell.plugin

    def _add(self, plugin: object, name: str, found: list[Found], *, script: bool, arrived: bool = True) -> str:
        with self._registry_lock:
            before = self._name2plugin.get(name)
            if before is None and script and self._waiting.place_of(name) is not None:
                raise HookRegistrationError(
                    f"the name {name!r} belongs to a plugin that is not active yet: choose another one for this hook"
                )
            if isinstance(before, Shell):
                if before.script != script:
                    raise HookRegistrationError(
                        f"the name {name!r} belongs to a plugin: choose another one for this hook"
                    )
                self.unregister(name=name)
            if arrived:
                self._waiting.drop(name)
            kept = self._waiting.place_of(name)
            shell = Shell(plugin, script)
            by_attribute: dict[str, HookRecord] = {}
            for each in found:
                if each.optional:
                    continue
                self._count += kept is None
                record = each.record
                record.order = (*record.order[:2], self._count if kept is None else kept + len(by_attribute))
                attribute = f"hook_{len(by_attribute)}"
                by_attribute[attribute] = record
                setattr(shell, attribute, adapter_for(self, each, self.kernel))
                shell.options[attribute] = {"specname": record.hook, "wrapper": record.kind != "plain"}
            try:
                super().register(shell, name)
            except pluggy.PluginValidationError as error:  # what only pluggy knows: wrappers of historic hooks
                raise HookRegistrationError(str(error)) from error
            self._enter(shell, by_attribute)
            return name

    def _enter(self, shell: Shell, by_attribute: dict[str, HookRecord]) -> None:
        adapters = {id(getattr(shell, attribute)): record for attribute, record in by_attribute.items()}
        for caller in self.get_hookcallers(shell) or ():
            known = self._records.setdefault(caller.name, {})
            for impl in caller.get_hookimpls():
                if impl.plugin is shell:
                    known[impl] = adapters[id(impl.function)]
            arrange(caller, known)
        self._refresh()

    def _refresh(self) -> None:
        enabled = {hook for hook, known in self._records.items() if any(record.enabled for record in known.values())}
        self.live_events = frozenset(enabled | self._waiting.hooks())
        self.watched = not self.live_events.isdisjoint({"before_plugin_execute", "after_plugin_execute"})

    def _arguments_of(self, hook: str) -> tuple[str, ...] | None:
        caller = getattr(self.hook, hook, None)
        if caller is None or caller.spec is None:
            return None
        return (*caller.spec.argnames, *caller.spec.kwargnames)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Give pluggy the adapters of a shell. Its name for what it does not call."""
        return plugin.options.get(name) if isinstance(plugin, Shell) else None

    # Calling

    def fire(self, event: HookEvent | str, **fields: object) -> FireReport:
        """Fire an event and return its context and what hooks returned.

        Raises ``OperationVetoed`` where a hook says no, ``UnknownEventError``, ``ContextFieldError`` for a wrong field.
        """
        return self._call(self._context(event, fields))

    async def afire(self, event: HookEvent | str, **fields: object) -> FireReport:
        """Fire an event from a coroutine: async hooks run on the loop of whoever awaits this, in the usual order."""
        context = self._context(event, fields)
        self._waiting.ready(context.event)
        with self._registry_lock:
            is_async = any(record.is_async for record in self._records.get(context.event, {}).values())
        if self.ranks is None and not is_async:
            return self._call(context)
        from model_checkpoint.hooks.coroutines import on_callers_loop

        return await on_callers_loop(lambda: self._call(context))

    def live(self, hook: str) -> bool:
        """Say whether anybody implements `hook`."""
        return hook in self.live_events

    def caller(self, hook: str) -> Any:
        """Return pluggy's caller of `hook`, with nobody left who waits for it. Raises AttributeError."""
        self._waiting.ready(hook)
        return getattr(self.hook, hook)

    def call_one(self, plugin: str, hook: str, **arguments: object) -> object:
        """Call `hook` on one plugin alone and return its answer, or None where it does not implement it."""
        shell = self._name2plugin.get(plugin)
        others = {other for other in super().get_plugins() if other is not shell}
        results = self.subset_hook_caller(hook, others)(**arguments) if isinstance(shell, Shell) else []
        return results[0] if isinstance(results, list) and results else results or None

    def _context(self, event: HookEvent | str, fields: dict[str, object]) -> Context:
        name = event if type(event) is HookEvent else checked_event(event)
        made = context_class(name.value)
        try:
            return made(event=name, time=now_s(), **fields)
        except TypeError:
            if unknown := [field for field in fields if field not in made._fields]:
                raise ContextFieldError(
                    f"{name.value} has no field {', '.join(unknown)}; it has {', '.join(made._fields)}"
                ) from None
            raise

    def _call(self, context: Context) -> FireReport:
        if self.ranks is not None and context.event.value in TOGETHER:
            return decide(self.ranks, context, self._call_here) or FireReport(context)
        return self._call_here(context)

    def _call_here(self, context: Context) -> FireReport:
        name = context.event.value
        if name not in self.live_events and not EVENTS[name].historic:
            return FireReport(context)
        caller = self.caller(name)
        if EVENTS[name].historic:
            results: list[object] = []
            caller.call_historic(result_callback=results.append, kwargs={"context": context})
            return FireReport(context, tuple(results))
        return FireReport(context, tuple(caller(context=context)))

    # What the guard asks for

    def call_timed(self, call: Callable[[Context], object], context: Context, timeout_s: float) -> object:
        return self._timed.run(call, context, timeout_s)

    def call_async(self, record: HookRecord, call: Callable[[], Any]) -> object:
        if self._coroutines is None:
            from model_checkpoint.hooks.coroutines import Coroutines  # asyncio: only where a hook is async

            with self._registry_lock:
                self._coroutines = self._coroutines or Coroutines()
        late = lambda error: self._failed_late(record, error)  # noqa: E731
        return self._coroutines.run(call, record.options.timeout_s, late, record.home)

    def call_later(self, record: HookRecord, call: Callable[[Context], object], context: Context) -> None:
        self._background.submit(record, call, context)

    def failed(self, record: HookRecord, error: BaseException) -> None:
        self._failures.handle(record, error)

    def _failed_late(self, record: HookRecord, error: BaseException) -> None:
        isolated = record.options._replace(on_error="isolate")
        record.options, options = isolated, record.options
        try:
            self._failures.handle(record, error)
        finally:
            record.options = options

    def may_execute(self, record: HookRecord) -> bool:
        try:
            self.fire(
                HookEvent.BEFORE_PLUGIN_EXECUTE,
                plugin=record.plugin,
                hook=record.hook,
                priority=record.options.priority,
            )
        except OperationVetoed:
            return False
        return True

    def executed(self, record: HookRecord, outcome: str, duration_s: float) -> None:
        self.fire(
            HookEvent.AFTER_PLUGIN_EXECUTE,
            plugin=record.plugin,
            hook=record.hook,
            outcome=outcome,
            duration_s=duration_s,
        )

    # Ending

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait for BACKGROUND hooks, at most `timeout_s` seconds; return whether all are done."""
        return self._background.flush(timeout_s)

    def close(self, timeout_s: float | None = None) -> bool:
        """Flush, and end every thread; return whether all BACKGROUND hooks are done."""
        done = self._background.close(timeout_s)
        self._timed.close()
        if self._coroutines is not None:
            self._coroutines.close()
        return done
