"""Plugins and hooks: what cannot be loaded, registered or called, and how a hook says no."""

from __future__ import annotations

from model_checkpoint.errors.base import CheckpointEngineError


class PluginError(CheckpointEngineError):
    """A plugin misbehaved or cannot be used."""


class PluginLoadError(PluginError, ImportError):
    """A plugin could not be imported or registered."""


class ManifestError(PluginError, ValueError):
    """A ``plugin.toml`` that says nothing usable; the message lists all that is wrong, with the file and the table."""


class PluginConflictError(PluginError):
    """Two plugins provide the same thing under the same name."""


class MissingExtraError(PluginError, ImportError):
    """An optional dependency is not installed; the message carries the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an optional dependency: pip install 'model-checkpoint-engine[{extra}]'")


class NotInThisVersionError(PluginError, NotImplementedError):
    """The public interface names it and this version does not have it yet."""


class HookError(CheckpointEngineError):
    """Something about a hook or an event is wrong."""


class HookRegistrationError(HookError, TypeError):
    """A hook that could never be called as it is written: refused at registration."""


class UnknownEventError(HookError, ValueError):
    """There is no event of that name."""


class ContextFieldError(HookError, AttributeError):
    """An event's context has no such field, or hooks may not change it."""


class HookTimeoutError(HookError, TimeoutError):
    """A hook took longer than its own time limit. ``timeout_s`` is that limit in seconds."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"it took longer than its limit of {timeout_s:g} s; raise timeout= or make it faster")


class OperationVetoed(HookError):
    """A hook stopped the operation on purpose.

    Attributes: ``event`` (the event's name), ``plugin`` (who said no), ``reason`` (in its own words).
    """

    def __init__(self, event: str, plugin: str, reason: str) -> None:
        self.event, self.plugin, self.reason = event, plugin, reason
        super().__init__(f"{event} was vetoed by {plugin}: {reason}")


class Veto(Exception):
    """Raise this inside a hook of a vetoable event to stop the operation: ``raise Veto("loss is NaN")``."""

    def __init__(self, reason: str = "no reason given") -> None:
        self.reason = reason
        super().__init__(reason)
