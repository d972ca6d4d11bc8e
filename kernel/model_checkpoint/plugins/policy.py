"""Which of the found plugins may be loaded at all, before anybody looks at what they need.

Every refusal is a state and one sentence that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from model_checkpoint.plugins.discovery import FoundPlugin
from model_checkpoint.plugins.requirements import fits

KERNEL_API = "1.0"
"""The version of what plugins may rely on."""
BLOCKED: tuple[tuple[str, str, str], ...] = ()
"""Versions known to lose or damage data: distribution, specifier, and what is wrong with them."""


class PluginState(StrEnum):
    """Where a plugin stands."""

    REGISTERED = "registered"
    """It waits for the first call of one of its hooks, or the first use of what it provides."""
    ACTIVE = "active"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    """Some of its hooks failed too often in this process and are switched off."""
    DEACTIVATED = "deactivated"
    DISABLED = "disabled"
    """By a user or the configuration, until enabled again, or by a veto."""
    BLOCKED = "blocked"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says of plugins."""

    safe_mode: str = "off"
    """``off``, ``builtin`` (no code of others) or ``none``."""
    trust: str = "any"
    """``any``, or ``listed``: of others' plugins only those in `trusted`."""
    trusted: frozenset[str] = frozenset()
    disabled: Mapping[str, str] = field(default_factory=dict)
    """Plugin -> who disabled it and how it is enabled again."""
    in_settings: frozenset[str] = frozenset()
    """Those of the disabled that the settings name: only they can take that back."""
    blocked: tuple[tuple[str, str, str], ...] = BLOCKED


class Refusal(NamedTuple):
    """Why a plugin is not loaded."""

    state: PluginState
    reason: str
    is_wanted: bool = False
    """Whether somebody chose it, so that it needs no mention in the log."""


def in_passing(state: PluginState, reason: str) -> str:
    """Say why a plugin is not there as part of a sentence about somebody else: ``needs s3, which ...``."""
    if reason.startswith(f"{state} "):
        return f"is {reason}"
    return f"cannot be used: {reason}" if state is PluginState.FAILED else f"is {state}: {reason}"


def refusals(found: Iterable[FoundPlugin], policy: Policy) -> dict[str, Refusal]:
    """Return which plugins may not be loaded, and why."""
    found_refusals = ((plugin.name, _refusal(plugin, policy)) for plugin in found)
    return {name: refusal for name, refusal in found_refusals if refusal is not None}


def _refusal(plugin: FoundPlugin, policy: Policy) -> Refusal | None:
    if policy.safe_mode == "none" or (policy.safe_mode == "builtin" and not plugin.is_builtin):
        return Refusal(PluginState.REFUSED, f"safe mode is {policy.safe_mode!r}: unset MCE_SAFE_MODE to load it", True)
    if plugin.problem:
        return Refusal(PluginState.REFUSED, plugin.problem)
    if plugin.name in policy.disabled:
        return Refusal(PluginState.DISABLED, policy.disabled[plugin.name], is_wanted=True)
    if policy.trust == "listed" and not plugin.is_builtin and plugin.name not in policy.trusted:
        return Refusal(
            PluginState.REFUSED,
            f"plugin_trust is 'listed' and trusted_plugins does not name it: add {plugin.name!r} there to load it",
            is_wanted=True,
        )
    for distribution, specifier, why in policy.blocked:
        if plugin.distribution == distribution and fits(plugin.version, specifier):
            return Refusal(PluginState.BLOCKED, f"{distribution}{specifier} is blocked: {why}; install another version")
    wanted = plugin.manifest.kernel_api if plugin.manifest else ""
    if wanted and not fits(KERNEL_API, wanted):
        return Refusal(
            PluginState.REFUSED,
            f"it is made for kernel API {wanted}, and this is {KERNEL_API}: install a version of"
            f" {plugin.distribution or plugin.name} that fits, or another one of model-checkpoint-engine",
        )
    return None
