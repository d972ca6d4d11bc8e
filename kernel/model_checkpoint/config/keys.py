"""The keys of the settings: how they are written, which there are, and which one a wrong one may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from model_checkpoint.config.schema import Applies, KernelConfig

Key = tuple[str, ...]
PLUGINS = "plugins"

_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|([^.]+)')


@dataclass(frozen=True, slots=True)
class Known:
    """One setting of the kernel."""

    key: Key
    kind: Any
    """Its type, resolved."""
    variable: str
    applies: Applies
    choices: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it was set."""

    value: object
    layer: str
    where: str

    def label(self, key: Key) -> str:
        """Name the place, as a problem begins: a variable, an argument, or a key in a file."""
        if self.layer == "environment":
            return self.where
        if self.layer == "arguments" and key in known():  # as it is called there: checkpoint_dir, storage_backend
            return known()[key].variable.removeprefix("MCE_").lower()
        place = "" if self.layer in ("arguments", "script") else f"{self.layer} file {self.where}: "
        return place + dotted(key)


Settings = dict[Key, Setting]


@cache
def known() -> Mapping[Key, Known]:
    """Return every setting of the kernel by its key."""
    found: dict[Key, Known] = {}
    hints = get_type_hints(KernelConfig)
    for top in fields(KernelConfig):
        if is_dataclass(hints[top.name]):
            inner = get_type_hints(hints[top.name])
            for each in fields(hints[top.name]):
                found[top.name, each.name] = _known((top.name, each.name), inner[each.name], each)
        elif top.metadata:
            found[top.name,] = _known((top.name,), hints[top.name], top)
    return found


def _known(key: Key, kind: object, declared: Field[Any]) -> Known:
    data = declared.metadata
    return Known(key, kind, data["env"] or "MCE_" + "_".join(key).upper(), data["applies"], data["choices"])


def top_level() -> frozenset[str]:
    """Return the names that may stand at the top of a file."""
    return frozenset(key[0] for key in known()) | {PLUGINS}


def dotted(key: Key) -> str:
    """Write a key as TOML does.

    >>> dotted(("plugins", "a.b", "bucket"))
    'plugins."a.b".bucket'
    """
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{_escaped(part)}"' for part in key)


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace('"', '\\"')


def undotted(text: str) -> Key:
    """Return the key that `dotted` writes as `text`."""
    return tuple(
        re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2] for match in _PART.finditer(text)
    )


def leaves(table: Mapping[str, object], above: Key = ()) -> Iterator[tuple[Key, object]]:
    """Yield (key, value) of everything in `table` that is not a table itself; a plugin's empty table counts, too."""
    for name, value in table.items():
        key = (*above, name)
        if isinstance(value, Mapping) and (value or key[0] != PLUGINS or len(key) == 1):
            yield from leaves(value, key)
        else:
            yield key, value


def overlaid(lower: Settings, upper: Settings) -> Settings:
    """Return `lower` with `upper` over it: what stands above or below a key of `upper` in the tree gives way."""
    return {key: each for key, each in lower.items() if not on_one_way(key, upper)} | upper


def on_one_way(key: Key, others: Iterable[Key]) -> bool:
    """Say whether `key` is one of `others`, or stands above or below one in the tree."""
    return any(key[: len(each)] == each[: len(key)] for each in others)


def plant(table: dict[str, Any], key: Key) -> dict[str, Any]:
    """Return the table in which the last part of `key` stands, making it where there is none."""
    for part in key[:-1]:
        below = table.get(part)
        if not isinstance(below, dict):
            below = table[part] = {}
        table = below
    return table


def in_a_variable(section: str) -> str:
    """Return a plugin's section as variables call it: ``best_news``, from ``MCE_PLUGINS__BEST_NEWS__FILE``."""
    return section.replace("-", "_").lower()


def meant(key: Key) -> str:
    """Return the end of a sentence about an unknown key: the setting that it may have meant, or what there is.

    >>> meant(("storge", "backend")), meant(("plugin", "s3", "bucket"))
    ("; did you mean 'storage.backend'?", "; did you mean 'plugins.s3.bucket'?")
    """
    from difflib import get_close_matches

    name, sections = key[-1], {each[0] for each in known() if len(each) > 1}
    above = get_close_matches(key[0], [*sections, PLUGINS], n=1) if len(key) > 1 else []
    if above == [PLUGINS]:
        return f"; did you mean {dotted((PLUGINS, *key[1:]))!r}?"
    beside = {each[1]: each for each in known() if len(each) > 1 and [each[0]] == above}
    near = [beside[each] for each in get_close_matches(name, beside, n=1)]
    near += [each for each in known() if each[-1] == name]  # it is right but for its section
    if near:
        return f"; did you mean {dotted(near[0])!r}?"
    return nearest(name, beside) if key[0] in sections else nearest(key[0], top_level())


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: what it may have meant, or what there is."""
    from difflib import get_close_matches

    there = sorted(names)
    near = get_close_matches(name, there, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(there) or 'none'}"
