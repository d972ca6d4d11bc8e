"""From found plugins to the order in which they are loaded: what they say of each other, put to `resolution`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model_checkpoint.plugins.discovery import FoundPlugin
from model_checkpoint.plugins.manifest import Manifest
from model_checkpoint.plugins.policy import PluginState, Refusal, in_passing
from model_checkpoint.plugins.requirements import fits, normalized
from model_checkpoint.plugins.resolution import Candidate, resolve

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What came of the resolution, by plugin."""

    refused: dict[str, Refusal]
    needs: dict[str, tuple[str, ...]]
    """Plugins that must be active before one is."""
    notes: dict[str, tuple[str, ...]]


def ordered(found: Iterable[FoundPlugin], refused: Mapping[str, Refusal]) -> tuple[tuple[str, ...], Verdicts]:
    """Return the names of the plugins that can be loaded, in order, and what is to be said of each and of the others.

    `refused` are those of `found` that a policy leaves out: they stand in the sentences about who needs them.
    """
    by_name = {plugin.name: plugin for plugin in found}
    outdated = {name: why for name, plugin in by_name.items() if (why := _outdated(plugin, by_name.values()))}
    before = outdated | {name: in_passing(refusal.state, refusal.reason) for name, refusal in refused.items()}
    resolution = resolve([_candidate(plugin, by_name.values()) for plugin in by_name.values()], before)
    wrong = {name: why for name, why in outdated.items() if name not in refused}
    wrong |= {name: verdict.reason for name, verdict in resolution.refused.items()}
    verdicts = Verdicts(
        {name: Refusal(PluginState.REFUSED, reason) for name, reason in wrong.items()},
        resolution.needs,
        {name: tuple(resolution.notes.get(name, ())) for name in resolution.order},
    )
    return resolution.order, verdicts


def _candidate(plugin: FoundPlugin, all_found: Iterable[FoundPlugin]) -> Candidate:
    manifest = plugin.manifest or Manifest()
    wanted = {normalized(name) for name, _ in _required_distributions(plugin, all_found)}
    after = [other.name for other in all_found if other is not plugin and normalized(other.distribution) in wanted]
    return Candidate(
        name=plugin.name,
        version=plugin.version,
        builtin=plugin.is_builtin,
        distribution=plugin.distribution,
        provides=manifest.provides,
        requires=manifest.requires,
        optional=manifest.optional,
        after=(*manifest.after, *after),
        conflicts=manifest.conflicts,
    )


def _required_distributions(plugin: FoundPlugin, others: Iterable[FoundPlugin]) -> list[tuple[str, str]]:
    """Return the distributions with plugins that a plugin without a manifest depends on, each with what is required."""
    if plugin.manifest is not None or plugin.is_builtin:
        return []
    known = {normalized(other.distribution) for other in others if not other.is_builtin}
    known.discard(normalized(plugin.distribution))
    required = []
    for text in plugin.requires_dist() if known else ():
        name = _NAME.match(text)
        if name and normalized(name[0]) in known:
            required.append((name[0], text))
    return required


def _outdated(plugin: FoundPlugin, others: Iterable[FoundPlugin]) -> str:
    for name, text in _required_distributions(plugin, others):
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        version = next(each.version for each in others if normalized(each.distribution) == normalized(name))
        if not fits(version, str(wanted.specifier)):
            return f"needs {name}{wanted.specifier}, found {version}: pip install -U '{name}{wanted.specifier}'"
    return ""
