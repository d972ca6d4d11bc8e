"""What is known and said of a plugin."""

from __future__ import annotations

from dataclasses import dataclass

from model_checkpoint.plugins.policy import PluginState

_LONGEST = 2_000
"""Characters of an error that are kept."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One line of ``kernel.plugins.list()``."""

    name: str
    version: str
    distribution: str
    origin: str
    """``builtin``, ``installed`` or ``script``."""
    state: PluginState
    provides: tuple[str, ...] = ()
    """Such as ``storage:pytorch``."""
    error: str = ""
    """Why it is not active, in a sentence."""
    summary: str = ""
    hooks: tuple[str, ...] = ()
    """The hooks that it implements, or says that it will."""
    requires: tuple[str, ...] = ()
    target: str = ""
    """What its entry point names."""
    has_manifest: bool = False
    notes: tuple[str, ...] = ()
    """What is odd about it and stops nothing."""


def label_of(plugin: object) -> str:
    """Return the name that an object is known by as a plugin."""
    own = getattr(plugin, "name", None)
    return own if isinstance(own, str) and own else getattr(plugin, "__name__", type(plugin).__name__)


def said(failure: BaseException) -> str:
    """Return what an error of a plugin says, even where its own ``__str__`` fails or goes on for ever."""
    try:
        text = str(failure)
    except Exception as error:
        text = f"its text cannot be had ({type(error).__name__})"
    return f"{type(failure).__name__}: {text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'}"


def disabled_sentence(name: str, reason: str) -> str:
    """Return what is said of a plugin that a user disabled."""
    return f"disabled by the user{f' ({reason})' if reason else ''}: mce plugins enable {name}"
