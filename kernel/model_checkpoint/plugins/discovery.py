"""Finds plugins by entry point, reads their manifests, and imports none of them.

The built-ins are declared in our own ``pyproject.toml`` and come through the same door as everybody else's.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.errors import ManifestError

if TYPE_CHECKING:
    from model_checkpoint.plugins.manifest import Manifest

NAMESPACE = "model_checkpoint"
GROUP = "model_checkpoint.plugins"
OWN_DISTRIBUTION = "model-checkpoint-engine"
MANIFEST = "plugin.toml"
_log = logging.getLogger("model_checkpoint")


@dataclass(frozen=True, slots=True)
class FoundPlugin:
    """An entry point that names a plugin, before anything of it is imported."""

    name: str
    target: str
    """``package.module`` or ``package.module:object``."""
    distribution: str
    version: str
    load: Callable[[], object] = field(compare=False, repr=False)
    requires_dist: Callable[[], list[str]] = field(default=list, compare=False, repr=False)
    """What its distribution depends on."""
    manifest: Manifest | None = field(default=None, compare=False)
    """What its `plugin.toml` declares; without one it is loaded as the kernel opens."""
    problem: str = field(default="", compare=False)
    """What is wrong with its manifest."""

    @property
    def is_builtin(self) -> bool:
        """Whether it ships with the engine."""
        return self.distribution == OWN_DISTRIBUTION


def discover() -> list[FoundPlugin]:
    """Return every declared plugin, sorted by name; of two with one name, the built-in comes first."""
    from model_checkpoint.plugins.metadata import entry_points  # costs 20 ms: paid at the first open, not at import

    _warn_of_a_plain_package()
    files: dict[str, tuple[dict[str, Manifest], dict[str, str]]] = {}
    found = set()
    for point in entry_points(GROUP):
        top = point.value.partition(":")[0].partition(".")[0].strip()
        if top not in files:
            files[top] = _manifests(top)
        manifests, problems = files[top]
        found.add(
            FoundPlugin(
                name=point.name,
                target=point.value,
                distribution=point.distribution,
                version=point.version,
                load=point.load,
                requires_dist=point.requires_dist,
                manifest=manifests.get(point.name),
                problem=problems.get(point.name) or problems.get("", ""),
            )
        )
    return sorted(found, key=lambda plugin: (plugin.name, not plugin.is_builtin, plugin.distribution))


def _warn_of_a_plain_package() -> None:
    """Say so where somebody's stray ``__init__.py`` hides what lies elsewhere of the namespace."""
    if stray := getattr(sys.modules.get(NAMESPACE), "__file__", None):
        _log.warning(
            "%s makes a plain package of the namespace %r, and hides whatever of it lies elsewhere: remove that file,"
            " and tell whoever ships it",
            stray,
            NAMESPACE,
        )


def _manifests(package: str) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Return the manifests of a top-level package by plugin, and what is wrong with some; ``""`` with all of them."""
    good: dict[str, Manifest] = {}
    bad: dict[str, str] = {}
    for folder in _folders_of(package):
        path = Path(folder, MANIFEST)
        if not os.path.lexists(path):  # False too where the folder may not be looked into
            continue
        from model_checkpoint.plugins.manifest import read_manifests

        try:
            read, problems = read_manifests(path)
        except ManifestError as error:
            bad[""] = str(error)
        else:
            good.update(read)
            bad.update(problems)
    return good, bad


def _folders_of(package: str) -> Iterable[str]:
    """Return where a top-level package lies, without importing it: several places for a namespace."""
    from importlib.util import find_spec

    try:
        loaded = sys.modules.get(package)
        places = getattr(loaded, "__path__", None) if loaded else None
        if places is None and loaded is None:
            spec = find_spec(package)
            places = spec.submodule_search_locations if spec else None
        return list(places or ())
    except (ImportError, ValueError, AttributeError):  # it is not there, or a finder is broken: loading it will tell
        return ()
