"""Settles the settings: defaults < files < ``MCE_*`` variables < arguments < enforced; each key remembers its layer."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from model_checkpoint.config.check import checked
from model_checkpoint.config.environ import from_environ
from model_checkpoint.config.keys import (
    PLUGINS,
    Key,
    Setting,
    Settings,
    dotted,
    known,
    leaves,
    on_one_way,
    overlaid,
    plant,
    undotted,
)
from model_checkpoint.config.schema import KernelConfig, Section
from model_checkpoint.config.sources import ConfigSources
from model_checkpoint.errors import ConfigProblems

_SQLITE_FILE = re.compile(r"sqlite(?:\+\w+)?:///(?!:memory:|file:)([^?]+)")
_DIRECTORY = ("storage", "checkpoint_dir")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where each part of it comes from."""

    config: KernelConfig
    origins: Mapping[str, tuple[str, str]] = field(repr=False)
    """Dotted key -> (layer, file or variable); the layer of what nobody set is ``default``."""
    warnings: tuple[str, ...] = ()
    digests: Mapping[Path, str] = field(default_factory=dict, repr=False)
    """Of each file that was there the hash of its content, "" where nothing is written in it."""
    settings: Mapping[Key, Setting] = field(default_factory=dict, repr=False)
    """Everything that was set, without what is enforced."""
    enforced: Mapping[Key, Setting] = field(default_factory=dict, repr=False)
    cwd: Path = field(default_factory=Path.cwd)

    @property
    def digest(self) -> str:
        """A hash of the contents of all files that were read."""
        from model_checkpoint.config.files import combined

        return combined(self.digests)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were there."""
        return tuple(self.digests)


def load(sources: ConfigSources) -> Loaded:
    """Read, check and settle everything. Raises `ConfigProblems` that names all that is wrong.

    Without a file, neither dynaconf nor a parser is imported; pydantic only where a value does not fit at sight.
    """
    try:
        return _load(sources)
    except RecursionError:
        raise ConfigProblems(
            ["the settings are nested too deeply: no file or variable needs hundreds of levels"]
        ) from None


def _load(sources: ConfigSources) -> Loaded:
    problems: list[str] = []
    warnings: list[str] = []
    settings, enforced, digests = _from_files(sources, problems, warnings)
    sections = {key[1] for key in settings if key[0] == PLUGINS}
    variables = from_environ(sources.environ, sections, problems, warnings)
    arguments = _given(sources.arguments, "arguments")
    for layer in (variables, arguments):
        settings = overlaid(settings, checked(layer, problems))
    if problems:
        raise ConfigProblems(problems)
    cwd = sources.cwd or Path.cwd()
    config, origins = _built(overlaid(settings, enforced), cwd, sources)
    return Loaded(config, origins, tuple(warnings), digests, settings, enforced, cwd)


def changed(loaded: Loaded, changes: Mapping[str, object], layer: str = "script") -> Loaded:
    """Return `loaded` with `changes`, dotted key -> value, laid over it. Raises `ConfigProblems`."""
    problems: list[str] = []
    fit = checked(_given(changes, layer), problems)
    problems += [
        f"{dotted(key)} is enforced by {each.where} and cannot be changed" for key, each in loaded.enforced.items()
        if on_one_way(key, fit)
    ]  # fmt: skip
    if problems:
        raise ConfigProblems(problems)
    settings = overlaid(dict(loaded.settings), fit)
    config, origins = _built(overlaid(settings, dict(loaded.enforced)), loaded.cwd)
    config = replace(config, environment=loaded.config.environment)
    return replace(loaded, config=config, origins={**origins, "environment": loaded.origins["environment"]},
                   settings=settings)  # fmt: skip


def _from_files(
    sources: ConfigSources, problems: list[str], warnings: list[str]
) -> tuple[Settings, Settings, Mapping[Path, str]]:
    if not any(os.path.lexists(path) for _, path in sources.files) and not sources.required:
        return {}, {}, {}
    from model_checkpoint.config.files import FileLayers, environment_problem

    if wrong := environment_problem(sources.environment.lower()):
        problems.append(wrong)
        return {}, {}, {}
    layers = FileLayers(sources.environment.lower(), problems)
    usual = [each for each in sources.files if each[0] != "enforced"]
    enforced = [each for each in sources.files if each[0] == "enforced"]
    found = layers.read(usual, sources.required), layers.read(enforced), MappingProxyType(layers.digests)
    if layers.environments and sources.environ.get("MCE_ENV") and layers.environment not in layers.environments:
        there = ", ".join(sorted(layers.environments))
        warnings.append(f"no file has settings for the environment {layers.environment!r} (MCE_ENV); there are {there}")
    return found


def _given(changes: Mapping[str, object], layer: str) -> list[tuple[Key, Setting]]:
    found: list[tuple[Key, Setting]] = []
    for name, value in changes.items():
        if not isinstance(name, str) or not undotted(name):
            raise ConfigProblems([f"{name!r} is no key of a setting: write it like 'storage.verify'"])
        below = leaves(value, undotted(name)) if isinstance(value, Mapping) and value else [(undotted(name), value)]
        found += [(key, Setting(each, layer, name)) for key, each in below]
    return found


def _built(
    settings: Settings, cwd: Path, sources: ConfigSources | None = None
) -> tuple[KernelConfig, Mapping[str, tuple[str, str]]]:
    sections: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    plugins: dict[str, Any] = {}
    for key, each in settings.items():
        if key[0] == PLUGINS:
            plant(plugins, key[1:])[key[-1]] = each.value
        elif len(key) == 1:
            top[key[0]] = each.value
        else:
            sections.setdefault(key[0], {})[key[1]] = each.value
    plain = KernelConfig()
    made: dict[str, Any] = {
        each.name: replace(value, **sections.get(each.name, {}))
        for each in fields(plain) if is_dataclass(value := getattr(plain, each.name)) and not isinstance(value, type)
    }  # fmt: skip
    environment = sources.environment.lower() if sources else plain.environment
    config: KernelConfig = replace(plain, **made, **top, plugins=_sections(plugins), environment=environment)
    directory = sections.get(_DIRECTORY[0], {}).get(_DIRECTORY[1]) or _beside(config.database.url)
    storage = replace(config.storage, checkpoint_dir=cwd / _expanded(directory))
    origins = dict.fromkeys((dotted(key) for key in known()), ("default", ""))
    origins |= {dotted(key): (each.layer, each.where) for key, each in settings.items() if each.layer}
    if sources and sources.environ.get("MCE_ENV"):
        origins["environment"] = ("environment", "MCE_ENV")
    else:
        origins["environment"] = ("default" if environment == plain.environment else "arguments", "")
    return replace(config, storage=storage), MappingProxyType(origins)


def _expanded(directory: Path) -> Path:
    try:
        return directory.expanduser()
    except RuntimeError:
        raise ConfigProblems(
            [f"storage.checkpoint_dir={str(directory)!r} names the home of a user whom nobody knows"]
        ) from None


def _sections(plugins: dict[str, Any]) -> Mapping[str, Mapping[str, object]]:
    return cast("Mapping[str, Mapping[str, object]]", Section(plugins))


def _beside(url: str) -> Path:
    """Return ``checkpoints/`` beside an SQLite file, or in the working directory for any other record store."""
    file = _SQLITE_FILE.match(url)
    return Path(file[1]).parent / "checkpoints" if file else Path("checkpoints")
