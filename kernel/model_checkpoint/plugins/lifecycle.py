"""The plugins of one kernel: found, admitted, ordered, and each alone with its failure.

::

    found -> admitted -> resolved -> registered -> active -> deactivated
               |            |            |            |
            disabled     refused       failed    quarantined (its hooks only)
            blocked      refused
            refused
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict

from model_checkpoint.common.clock import Stopwatch
from model_checkpoint.errors import KernelError, OperationVetoed, PluginConflictError, PluginError, PluginLoadError
from model_checkpoint.hooks import HookEvent, HookManager
from model_checkpoint.hooks.guard import PASSING
from model_checkpoint.plugins.activation import Plugin, TakenDownError, bring_up, start, take_down
from model_checkpoint.plugins.discovery import FoundPlugin
from model_checkpoint.plugins.info import PluginInfo, disabled_sentence, label_of, said
from model_checkpoint.plugins.policy import PluginState, Policy, in_passing, refusals
from model_checkpoint.plugins.registry import Provided
from model_checkpoint.plugins.states import PluginStates
from model_checkpoint.plugins.table import PluginTable
from model_checkpoint.plugins.turn import Turn

_log = logging.getLogger("model_checkpoint")
DEFAULT_LIMIT_S = 30.0
Section = Callable[[Plugin, type | None], object]


class PluginSet(PluginTable):
    """The plugins of one kernel.

    Args:
        hooks: where their hooks go.
        kernel: what they get as ``kernel``.
        section: gives the checked configuration of a plugin whose ``Config`` is the second argument.
        states: which plugins the user disabled.
    """

    def __init__(
        self,
        hooks: HookManager,
        kernel: object,
        *,
        section: Section = lambda plugin, schema: schema() if schema else {},
        states: PluginStates | None = None,
    ) -> None:
        self._hooks, self._kernel, self._section = hooks, kernel, section
        self._states = states or PluginStates()
        self._plugins: dict[str, Plugin] = {}
        self._turn = Turn()
        self._in_settings: frozenset[str] = frozenset()
        self._may_start = self._closed = False
        self.limit_s = DEFAULT_LIMIT_S
        """How long a plugin of others may take to come up, in seconds."""
        self.in_use: Callable[[str], str] = lambda capability: ""
        """Says for what a capability is in use now, so that its plugin cannot go away."""
        self.provided = Provided.empty()

    def waits_for_us(self, thread: int) -> bool:
        """Say whether a thread waits for the caller, on behalf of whom a plugin comes or goes."""
        return self._turn.is_mine and self._turn.waits(thread)

    # Coming

    def load_found(self, found: Iterable[FoundPlugin], policy: Policy | None = None) -> None:
        """Admit and order plugins; those that say when they are needed wait for it, the others come up now.

        Whatever is wrong with one is said in its `PluginInfo` and stops no other.
        """
        from model_checkpoint.plugins.ordering import ordered

        for plugin, clash in self._named(found):
            self._plugins[plugin.name if not clash else f"{plugin.name} ({plugin.found.distribution})"] = plugin
            if clash:
                self._fail(plugin, PluginLoadError(clash))
        new = {
            name: plugin for name, plugin in self._plugins.items() if plugin.origin != "script" and not plugin.reason
        }
        candidates = [plugin.found for plugin in new.values()]
        policy = policy or Policy()
        self._in_settings = policy.in_settings
        for name in sorted(policy.in_settings - set(self._plugins)):
            _log.warning("disabled_plugins names %r, and no such plugin is installed%s", name, self._near(name))
        refused = refusals(candidates, policy)
        order, verdicts = ordered(candidates, refused)
        for name, refusal in {**refused, **verdicts.refused}.items():
            self._refuse(new[name], refusal.state, refusal.reason)
            if not refusal.is_wanted:
                _log.warning("plugin %s is not loaded: %s", name, refusal.reason)
        for name in order:
            plugin = self._plugins.pop(name)  # in the order of loading from here on
            self._plugins[name] = plugin
            plugin.needs, plugin.notes = verdicts.needs[name], verdicts.notes[name]
            self._register(plugin)
        for name in order:
            if not self._plugins[name].waits:
                self.activate(name)

    def _named(self, found: Iterable[FoundPlugin]) -> Iterable[tuple[Plugin, str]]:
        for each in found:
            taken = self._plugins.get(each.name)
            clash = f"the name {each.name!r} belongs to {_owner(taken)}: rename the entry point" if taken else ""
            yield Plugin(each, "builtin" if each.is_builtin else "installed"), clash

    def _register(self, plugin: Plugin) -> None:
        def activate() -> None:
            self.activate(plugin.name)

        plugin.state, plugin.reason = PluginState.REGISTERED, ""
        self._hooks.wait_for(plugin.name, (plugin.manifest.hooks if plugin.manifest else None) or (), activate)
        for capability in plugin.promised:
            if place := self.provided.table_of(capability):
                place[0].expect(place[1], plugin.name, activate)

    def add(self, plugin: object, name: str | None = None) -> str:
        """Register an object as a plugin and return its name: its own ``name``, else that of its class.

        An object that was added under the same name before is replaced. Errors are raised, for a script wants to see
        them: ``PluginConflictError`` where an installed plugin has the name, ``PluginLoadError``.
        """
        label = name or label_of(plugin)
        if self._closed:
            raise KernelError(f"plugin {label!r} comes too late: the kernel is closed")
        taken = self._plugins.get(label)
        if taken is not None and taken.origin != "script":
            raise PluginConflictError(f"the name {label!r} belongs to {_owner(taken)}: add the plugin with name='...'")
        if taken is not None and taken.state is PluginState.ACTIVE:
            with self._turn.taken():
                self._unload(taken, PluginState.DEACTIVATED, "replaced")
        added = Plugin(FoundPlugin(label, "", "", "", lambda: plugin), "script")
        self._plugins[label] = added
        self.activate(label)
        if added.state is PluginState.FAILED:
            raise PluginLoadError(f"plugin {label!r} cannot be used: {added.reason}") from added.cause
        return label

    def activate(self, name: str) -> PluginInfo:
        """Bring a plugin up now, with those that it needs, and return what is known of it.

        One that cannot be used is told by its `PluginInfo`. Raises ``PluginError`` where there is none of that name.
        """
        with self._turn.taken():
            plugin = self._known(name)
            ready = plugin.state in (PluginState.REGISTERED, PluginState.DEACTIVATED)
            if ready and not plugin.is_coming_up and not self._closed:
                plugin.is_coming_up, plugin.attempt = True, object()
                try:
                    self._bring_up(plugin)
                finally:
                    plugin.is_coming_up = False
            return self._info(name, plugin, set())

    def _bring_up(self, plugin: Plugin) -> None:
        watch, found = Stopwatch(), plugin.found
        identity = {"name": plugin.name, "version": found.version}
        try:
            self._bring_up_needs(plugin)
            self._hooks.fire(
                HookEvent.BEFORE_PLUGIN_LOAD,
                **identity,
                distribution=found.distribution,
                origin=plugin.origin,
                manifest=asdict(plugin.manifest) if plugin.manifest else None,
            )
            self._timed(plugin, lambda: self._come_up(plugin))
        except OperationVetoed as veto:
            self._refuse(plugin, PluginState.DISABLED, veto.reason)
        except TakenDownError as failure:  # by itself, or by a hook; its state tells already
            self._tell(plugin, "load", failure)
        except PASSING:  # Ctrl-C: it did not come up, and may be tried again
            take_down(plugin, self._hooks, self.provided)
            self._register(plugin)
            raise
        except BaseException as failure:  # also what a library calls a panic
            self._fail(plugin, failure)
        else:
            plugin.state, plugin.reason = PluginState.ACTIVE, ""
            hooks = self._hooks.hooks_of(plugin.name)
            self._hooks.fire(HookEvent.AFTER_PLUGIN_LOAD, **identity, hooks=hooks, duration_s=watch.elapsed_s)

    def _bring_up_needs(self, plugin: Plugin) -> None:
        for need in plugin.needs:
            if self._plugins[need].state is PluginState.DEACTIVATED:
                raise PluginLoadError(f"it needs {need!r}, which was deactivated: {self._plugins[need].reason}")
            info = self.activate(need)
            if info.state is not PluginState.ACTIVE and not self._plugins[need].is_coming_up:
                raise PluginLoadError(f"it needs {need!r}, which cannot be used: {info.error}")

    def _check_needs(self, plugin: Plugin) -> None:
        for need in plugin.needs:
            if self._plugins[need].state is not PluginState.ACTIVE:
                raise PluginLoadError(f"it needs {need!r}, which cannot be used: {self._plugins[need].reason}")

    def _come_up(self, plugin: Plugin) -> None:
        bring_up(plugin, self._hooks, self._kernel, self.provided, self._section)
        if self._may_start:
            start(plugin, self._kernel)
        self._hooks.arrived(plugin.name)  # from now on others call its hooks without waiting for it

    def _timed(self, plugin: Plugin, call: Callable[[], None]) -> None:
        if plugin.origin != "installed" or not self.limit_s:
            call()
        else:
            self._turn.within(self.limit_s, plugin.name, call, lambda: None)  # a late one finds that it was taken down

    def start_all(self) -> None:
        """Start what is active, now that the kernel can be worked with; later ones start as they come up."""
        with self._turn.taken():
            self._may_start = True
            for plugin in self.active():
                if plugin.state is PluginState.ACTIVE and not plugin.is_started:
                    hooks = self._hooks.hooks_of(plugin.name)
                    try:
                        self._check_needs(plugin)
                        self._timed(plugin, lambda plugin=plugin: start(plugin, self._kernel))  # type: ignore[misc]
                    except TakenDownError:
                        continue
                    except PASSING:
                        raise
                    except BaseException as failure:
                        self._fail(plugin, failure)
                        self._tell_unload(plugin, plugin.reason, hooks)
                        if plugin.origin == "script":
                            raise PluginLoadError(
                                f"plugin {plugin.name!r} cannot be used: {plugin.reason}"
                            ) from failure

    def require(self, names: Iterable[str]) -> None:
        """Activate plugins without which nothing goes. Raises ``PluginLoadError`` naming all that cannot be had."""
        lacking = []
        for name in names:
            if name not in self._plugins:
                lacking.append(f"{name!r} is not installed")
            elif (info := self.activate(name)).state is not PluginState.ACTIVE:
                lacking.append(f"{name!r} {in_passing(info.state, info.error)}")
        if lacking:
            raise PluginLoadError(f"required_plugins asks for what cannot be had: {'; '.join(lacking)}")

    # Going

    def deactivate(self, name: str, reason: str = "asked for") -> None:
        """Stop a plugin and those that need it, and take out their hooks and what they provide.

        Raises ``PluginError`` where there is none of that name, ``KernelError`` where what it provides is in use.
        """
        with self._turn.taken():
            plugin = self._known(name)
            going = [plugin, *self._dependents(name)]
            for each in going:
                for capability in self._provided_by(each):
                    if use := self.in_use(capability):
                        raise KernelError(
                            f"plugin {name!r} cannot go while {capability} is {use}: close the kernel first"
                        )
            for each in reversed(going):
                if each.state in (PluginState.ACTIVE, PluginState.REGISTERED):
                    why = reason if each is plugin else f"it needs {name}"
                    self._unload(each, PluginState.DEACTIVATED, why)

    def _dependents(self, name: str) -> list[Plugin]:
        """Return the active plugins that need one, over others too, in the order of loading."""
        found = {name}
        for plugin in self.known():
            if plugin.state is PluginState.ACTIVE and found.intersection(plugin.needs):
                found.add(plugin.name)
        return [plugin for plugin in self.known() if plugin.name in found - {name}]

    def disable(self, name: str, reason: str = "") -> None:
        """Deactivate a plugin and keep it disabled, in later kernels of this environment too.

        Raises ``PluginError``, ``KernelError``, ``RecordStoreDamagedError``.
        """
        plugin = self._known(name)
        if plugin.origin == "script":
            raise PluginError(f"{name!r} was added by the script: take it out with deactivate({name!r})")
        self.deactivate(name, "disabled")
        self._states.disable(name, reason)
        self._refuse(plugin, PluginState.DISABLED, disabled_sentence(name, reason))

    def enable(self, name: str) -> PluginInfo | None:
        """Let a disabled plugin load again, now and later, and switch its quarantined hooks on again.

        One that is not installed any more is forgotten, and None returned. Raises ``PluginError``,
        ``RecordStoreDamagedError``.
        """
        with self._turn.taken():
            was_disabled = self._states.enable(name)
            if was_disabled and name not in self._plugins:
                return None
            plugin = self._known(name)
            if plugin is not self._plugins.get(plugin.name) or name in self._in_settings:
                raise PluginError(f"{name!r} cannot be enabled: {plugin.reason}")
            self._hooks.enable(name)
            if plugin.state is PluginState.DISABLED:
                self._join(plugin)
            elif plugin.state in (PluginState.DEACTIVATED, PluginState.FAILED):
                self._register(plugin)
            if plugin.state is PluginState.REGISTERED and not plugin.waits:
                self.activate(name)
            return self._info(name, plugin, set())

    def _join(self, plugin: Plugin) -> None:
        """Register a plugin that was left out of the resolution, if it goes with those that are in."""
        from model_checkpoint.plugins.ordering import ordered

        out = (PluginState.DISABLED, PluginState.REFUSED, PluginState.BLOCKED)
        there = [each for each in self.known() if each.origin != "script" and each.state not in out]
        order, verdicts = ordered([each.found for each in (*there, plugin)], {})
        lost = sorted({each.name for each in (*there, plugin)} - set(order))
        if lost:
            refusal = verdicts.refused.get(plugin.name)
            why = refusal.reason if refusal else f"{', '.join(lost)} would have to go: open another kernel"
            self._refuse(plugin, PluginState.REFUSED, why)
        else:
            plugin.needs, plugin.notes = verdicts.needs[plugin.name], verdicts.notes[plugin.name]
            self._register(plugin)

    def take_leave(self) -> None:
        """Tell that all plugins go, the last one first, while each can still hear it."""
        for plugin in reversed(self.active()):
            self._tell_unload(plugin, "the kernel closes", self._hooks.hooks_of(plugin.name))

    def close(self) -> None:
        """Unwind what the plugins opened, the last one first. What was counted of their hooks stays."""
        with self._turn.taken():
            self._closed = True
            for plugin in reversed(self.active()):
                plugin.state, plugin.reason = PluginState.DEACTIVATED, "the kernel closes"
                try:
                    self._timed(plugin, plugin.exits.close)
                except PASSING:
                    raise
                except BaseException as failure:
                    _log.warning("plugin %s did not end in order: %s", plugin.name, said(failure))

    def _unload(self, plugin: Plugin, state: PluginState, reason: str) -> None:
        was_active, hooks = plugin.state is PluginState.ACTIVE, self._hooks.hooks_of(plugin.name)
        failure = take_down(plugin, self._hooks, self.provided)
        if failure is not None:
            self._tell(plugin, "exit", failure)
        self._lacks(plugin, state, reason)
        plugin.state, plugin.reason = state, reason
        if was_active:
            self._tell_unload(plugin, reason, hooks)

    def _tell_unload(self, plugin: Plugin, reason: str, hooks: tuple[str, ...]) -> None:
        self._hooks.fire(HookEvent.AFTER_PLUGIN_UNLOAD, name=plugin.name, reason=reason, hooks=hooks)

    def _fail(self, plugin: Plugin, failure: BaseException) -> None:
        plugin.cause = failure
        sentence = str(failure) if isinstance(failure, PluginError) else said(failure)
        self._refuse(plugin, PluginState.FAILED, sentence)
        if plugin.origin != "script":  # that one is raised
            _log.warning("plugin %s cannot be used, and nothing of it is called: %s", plugin.name, sentence)
        self._tell(plugin, "load", failure)

    def _refuse(self, plugin: Plugin, state: PluginState, reason: str) -> None:
        if plugin is self._plugins.get(plugin.name):  # not one whose name belongs to another
            take_down(plugin, self._hooks, self.provided)
            self._lacks(plugin, state, reason)
        plugin.state, plugin.reason = state, reason

    def _lacks(self, plugin: Plugin, state: PluginState, reason: str) -> None:
        """Wait for a plugin no longer, and tell whoever looks for what it would provide."""
        self._hooks.arrived(plugin.name)  # its place in the order stays its own
        for capability in plugin.promised:
            if place := self.provided.table_of(capability):
                place[0].lacks(place[1], plugin.name, in_passing(state, reason))

    def _tell(self, plugin: Plugin, hook: str, failure: BaseException) -> None:
        self._hooks.fire(HookEvent.ON_PLUGIN_ERROR, plugin=plugin.name, hook=hook, error=failure)


def _owner(plugin: Plugin | None) -> str:
    distribution = plugin.found.distribution if plugin else ""
    return f"the distribution {distribution}" if distribution else "a plugin that the script added"
