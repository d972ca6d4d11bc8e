"""Reads configuration files: once each, so that what is hashed is what is parsed, and all that is wrong at once.

::

    bytes -> TOML -> {"default": {...}, "production": {...}} -> checked settings -> dynaconf -> one table
                     a file without such tables is one [default]                    layers and environments

dynaconf is given the tables, not the files. Left to read them itself, it takes a broken one for an empty one or stops
at the first, runs a ``dynaconf_hooks.py`` that lies beside it, and follows ``*_FOR_DYNACONF`` variables of others.
Every value goes through it in a `Setting`, which it cannot cast (``@none``, ``12345678``) nor, as lists, join.
One table alone needs no laying over, and dynaconf is not imported for it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from model_checkpoint.common.toml_text import DEEPEST_KEY, line_of_deep_key
from model_checkpoint.config.check import checked, settings_of
from model_checkpoint.config.keys import Setting, Settings, leaves, plant, top_level

Tables = dict[str, dict[str, Any]]

_ENVIRONMENTS = {"default", "development", "testing", "staging", "production"}
_LARGEST = 1 << 20


class Unreadable(ValueError):
    """Says why a file cannot be read, as a sentence goes on after its path."""


def content_of(path: Path) -> bytes | None:
    """Return the bytes of a file, or None where there is none. Raises `Unreadable`."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a named pipe would wait for ever
            raise Unreadable("is not a file; move it away, or name another file")
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > _LARGEST:
        raise Unreadable(f"is larger than {_LARGEST >> 20} MiB; no configuration is")
    return data


def digest_of(data: bytes) -> str:
    """Return the hash of a file's content, and "" of one in which nothing is written."""
    return hashlib.sha256(data).hexdigest() if data.strip() else ""


def digests_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the hash of each file that is there; of one that cannot be read, why."""
    found = {}
    for path in paths:
        try:
            if (data := content_of(path)) is not None:
                found[path] = digest_of(data)
        except Unreadable as error:
            found[path] = str(error)
    return found


def combined(digests: Mapping[Path, str]) -> str:
    """Return one hash of all of them."""
    return hashlib.sha256(repr(sorted((str(path), each) for path, each in digests.items())).encode()).hexdigest()


class FileLayers:
    """The files of some layers, read, checked and laid over one another. ``problems`` and ``digests`` fill up."""

    def __init__(self, environment: str, problems: list[str]) -> None:
        self.environment, self.problems = environment, problems
        self.digests: dict[Path, str] = {}
        self.environments: set[str] = set()
        """Those that some file has settings for, besides the default."""

    def read(self, files: Iterable[tuple[str, Path]], required: Iterable[Path] = ()) -> Settings:
        """Return what holds after `files`, (layer, path), of which later ones win."""
        documents: dict[str, Tables] = {}
        for layer, path in files:
            try:
                data = content_of(path)
                if data is None and path in required:
                    raise Unreadable("is not there, and it was asked for by name")
                if data is not None:
                    self.digests[path] = digest_of(data)
                    documents[f"{layer}:{path}"] = self._tables(layer, str(path), parsed(data))
            except Unreadable as error:
                self.problems.append(f"{layer} file {path} {error}")
        alone = [table for tables in documents.values() for table in tables.values()]
        merged = _laid_over(documents, self.environment) if len(alone) > 1 else dict(*alone)
        return {
            key: each if isinstance(each, Setting) else Setting(each, "", "")  # a plugin's table without settings
            for key, each in leaves(merged)
        }

    def _tables(self, layer: str, where: str, content: dict[str, Any]) -> Tables:
        """Return the tables that hold in this environment, each with checked settings for values."""
        found: Tables = {}
        own = {name: value for name, value in content.items() if not self._is_environment(name, value)}
        self.environments |= {name.lower() for name in content.keys() - own.keys()} - {"default"}
        chosen = [content[name] for name in content if name not in own and name.lower() == "default"]
        active = [content[name] for name in content if name not in own and name.lower() == self.environment]
        for name, tables in {self.environment: active, "default": [own, *chosen]}.items():
            for table in tables:
                fit = checked(settings_of(table, layer, where), self.problems)
                found[name] = _planted(fit, found.get(name, {}))
        return {name: table for name, table in found.items() if table}

    def _is_environment(self, name: str, value: object) -> bool:
        """Tell ``[production]`` from a section whose name is misspelt: sections stand in it."""
        if not isinstance(value, dict) or name in top_level():
            return False
        return name.lower() in _ENVIRONMENTS | {self.environment} or not value or not top_level().isdisjoint(value)


def parsed(data: bytes) -> dict[str, Any]:
    """Return what a TOML file says. Raises `Unreadable` with the line."""
    import tomllib

    try:
        text = data.decode("utf-8-sig")
        if number := line_of_deep_key(text):
            raise Unreadable(f"is nested too deeply: line {number} has a key of more than {DEEPEST_KEY} parts")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"is not UTF-8: line {line} holds the byte 0x{data[error.start]:02x}") from None
    except tomllib.TOMLDecodeError as error:
        end = f"at the end, line {len(data.splitlines())}"
        why = str(error).replace("at end of document", end)
        raise Unreadable(f"is not TOML, or written only in half: {why}") from None
    except Unreadable:
        raise
    except (RecursionError, ValueError) as error:  # thousands of nested brackets; numbers of thousands of digits
        raise Unreadable(f"is not TOML that can be read: {error}") from None


def _planted(settings: Settings, table: dict[str, Any]) -> dict[str, Any]:
    for key, each in settings.items():
        place = plant(table, key)
        if each.value == {}:
            place.setdefault(key[-1], {})
        else:
            place[key[-1]] = each
    return table


def _laid_over(documents: dict[str, Tables], environment: str) -> dict[str, Any]:
    from dynaconf import Dynaconf  # type: ignore[import-untyped]
    from dynaconf.loaders.base import BaseLoader  # type: ignore[import-untyped]

    settings = Dynaconf(
        environments=True,
        merge_enabled=True,
        FORCE_ENV_FOR_DYNACONF=environment,
        ENV_FOR_DYNACONF=environment,
        dotted_lookup=False,
        nested_separator=False,
        load_dotenv=False,
        dynaconf_skip_loaders=True,  # nothing but what is given to it below
    )
    given = {
        name: {each: {"mce": table} for each, table in tables.items()} for name, tables in documents.items() if tables
    }
    loader = BaseLoader(settings, environment, "mce", (), file_reader=None, string_reader=given.__getitem__)
    loader.load(filename=list(given))
    return dict(settings.store["MCE"])


def environment_problem(name: str) -> str | None:
    """Say what is wrong with the name of an environment, if anything."""
    if name in top_level():
        return f"MCE_ENV={name!r} is the name of a setting; call the environment something else"
    return None if re.fullmatch(r"[a-z][a-z0-9_-]*", name) else f"MCE_ENV={name!r} is no name: use letters and digits"
