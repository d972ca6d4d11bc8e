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
from model_checkpoint.plugins.turn import Turn

_log = logging.getLogger("model_checkpoint")
DEFAULT_LIMIT_S = 30.0
Section = Callable[[Plugin, type | None], object]


class PluginSet:
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
        self._may_start = self._closed = False
        self.limit_s = DEFAULT_LIMIT_S
        """How long a plugin of others may take to come up, in seconds."""
        self.in_use: Callable[[str], str] = lambda capability: ""
        """Says for what a capability is in use now, so that its plugin cannot go away."""
        self.provided = Provided.empty()

    def waits_for_us(self, thread: int) -> bool:
        """Say whether a thread waits for the caller, on behalf of whom a plugin comes or goes."""
        return self._turn.is_mine and self._turn.waits(thread)

    # Looking

    def list(self) -> list[PluginInfo]:
        """Return what is known of every plugin, sorted by name."""
        quarantined = {line.plugin for line in self._hooks.stats() if line.quarantined}
        return [self._info(name, plugin, quarantined) for name, plugin in sorted(self._plugins.items())]

    def get(self, name: str) -> PluginInfo | None:
        """Return what is known of one plugin, or None."""
        return next((info for info in self.list() if info.name == name), None)

    def known(self) -> tuple[Plugin, ...]:
        """Return every plugin of which anything is known, in the order of loading."""
        return tuple(self._plugins.values())

    def active(self) -> tuple[Plugin, ...]:
        """Return the active plugins in the order of loading."""
        return tuple(plugin for plugin in self.known() if plugin.state is PluginState.ACTIVE)

    def _info(self, label: str, plugin: Plugin, quarantined: set[str]) -> PluginInfo:
        found, manifest, state = plugin.found, plugin.manifest, plugin.state
        return PluginInfo(
            label,
            found.version,
            found.distribution,
            plugin.origin,
            PluginState.QUARANTINED if state is PluginState.ACTIVE and label in quarantined else state,
            self._provided_by(plugin) if state is PluginState.ACTIVE else plugin.promised,
            plugin.reason,
            manifest.summary if manifest else "",
            self._hooks.hooks_of(label) or tuple((manifest.hooks if manifest else None) or ()),
            manifest.requires if manifest else (),
            found.target,
            manifest is not None,
            plugin.notes,
        )

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
        refused = refusals(candidates, policy or Policy())
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
                lacking.append(f"{name!r} is {info.state}: {info.error}")
        if lacking:
            raise PluginLoadError(f"required_plugins asks for what cannot be had: {'; '.join(lacking)}")

    # Going

    def deactivate(self, name: str, reason: str = "asked for") -> None:
        """Stop a plugin and those that need it, and take out their hooks and what they provide.

        Raises ``PluginError`` where there is none of that name, ``KernelError`` where what it provides is in use.
        """
        with self._turn.taken():
            plugin = self._known(name)
            for capability in self._provided_by(plugin):
                if use := self.in_use(capability):
                    raise KernelError(f"plugin {name!r} cannot go while {capability} is {use}: close the kernel first")
            for other in reversed(self.known()):
                if name in other.needs and other.state is PluginState.ACTIVE:
                    self.deactivate(other.name, f"it needs {name}")
            if plugin.state in (PluginState.ACTIVE, PluginState.REGISTERED):
                self._unload(plugin, PluginState.DEACTIVATED, reason)

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
            if plugin is not self._plugins.get(plugin.name):
                raise PluginError(f"{name!r} cannot be enabled: {plugin.reason}")
            self._hooks.enable(name)
            if plugin.state in (PluginState.DISABLED, PluginState.DEACTIVATED, PluginState.FAILED):
                self._register(plugin)
                if not plugin.waits:
                    self.activate(name)
            return self._info(name, plugin, set())

    def take_leave(self) -> None:
        """Tell that all plugins go, the last one first, while each can still hear it."""
        for plugin in reversed(self.active()):
            self._tell_unload(plugin, "the kernel closes", self._hooks.hooks_of(plugin.name))

    def left_disabled(self) -> dict[str, str]:
        """Return the plugins that are kept disabled and not installed, each with the reason that was given."""
        return {name: why for name, why in self._states.disabled().items() if name not in self._plugins}

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
        self._hooks.wait_no_longer(plugin.name)
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
            self._hooks.wait_no_longer(plugin.name)
            for capability in plugin.promised:
                if place := self.provided.table_of(capability):
                    place[0].lacks(place[1], plugin.name, in_passing(state, reason))
        plugin.state, plugin.reason = state, reason

    def _tell(self, plugin: Plugin, hook: str, failure: BaseException) -> None:
        self._hooks.fire(HookEvent.ON_PLUGIN_ERROR, plugin=plugin.name, hook=hook, error=failure)

    def _provided_by(self, plugin: Plugin) -> tuple[str, ...]:
        return tuple(entry for table in self.provided.tables().values() for entry in table.of_plugin(plugin.name))

    def _known(self, name: str) -> Plugin:
        plugin = self._plugins.get(name)
        if plugin is None:
            from difflib import get_close_matches

            near = get_close_matches(name, self._plugins, n=1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(self._plugins)) or 'none'}"
            )
            raise PluginError(f"no plugin is called {name!r}{hint}")
        return plugin


def _owner(plugin: Plugin | None) -> str:
    distribution = plugin.found.distribution if plugin else ""
    return f"the distribution {distribution}" if distribution else "a plugin that the script added"
