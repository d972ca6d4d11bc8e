"""What a plugin can be set to: the fields of its ``Config``, with what stands in the settings in force."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from model_checkpoint.kernel import show_config

if TYPE_CHECKING:
    from model_checkpoint.kernel import Kernel

_IMPORTABLE = ("registered", "active", "failed")
_REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a plugin's section."""

    key: str
    type: str
    default: str
    """As it is written in Python, or that there is none."""
    value: str
    """What is in force, a secret masked."""
    where: str
    """The file or variable that sets it; empty for the default."""
    about: str
    """What its author wrote below it."""


def options_of(kernel: Kernel, name: str) -> Iterator[Option]:
    """Yield what can be set for the plugin `name`, importing it; nothing where it brings no ``Config``."""
    plugin = next(each for each in kernel.plugins.known() if each.name == name)
    schema = _schema(plugin) if plugin.state in _IMPORTABLE else None
    if schema is None:
        return
    abouts, written = _docstrings(schema), _written(kernel, plugin.section)
    for key, kind, default, about in _declared(schema):
        own = written.get(key, [])
        value = ", ".join(f"{below}={value}" if below else value for below, value, _ in own)
        where = next((where for _, _, where in own), "")
        yield Option(key, kind, default, value or default, where, about or abouts.get(key, ""))


def _schema(plugin: Any) -> type | None:
    try:
        found = plugin.obj if plugin.obj is not None else plugin.found.load()
    except (Exception, SystemExit):  # why it cannot be used is told beside
        return None
    schema = getattr(found, "Config", None)
    return schema if isinstance(schema, type) else None


def _declared(schema: type) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and description of each field of a dataclass or a model of pydantic."""
    if is_dataclass(schema):
        for each in fields(schema):
            if each.init:
                made = each.default_factory() if each.default_factory is not MISSING else each.default
                yield each.name, _kind(each.type), _REQUIRED if made is MISSING else repr(made), ""
        return
    for name, field in getattr(schema, "model_fields", {}).items():
        made = field.get_default(call_default_factory=not field.is_required())
        default = _REQUIRED if field.is_required() else repr(made)
        yield field.alias or name, _kind(field.annotation), default, field.description or ""


def _kind(declared: object) -> str:
    return declared.__name__ if type(declared) is type else str(declared)


def _docstrings(schema: type) -> dict[str, str]:
    """Return what stands as a string below each field in the source; nothing where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(schema)))
    except (OSError, TypeError, SyntaxError):
        return {}
    (body,) = (each.body for each in tree.body if isinstance(each, ast.ClassDef))
    found: dict[str, str] = {}
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match below:
                case ast.Expr(ast.Constant(str(text))):
                    found[field.target.id] = " ".join(text.split())
    return found


def _written(kernel: Kernel, section: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return for each key what is set of it: the part below the key, the value as it may be shown, and where."""
    heads = [f"plugins.{section}.", f'plugins."{section}".', f"plugins.{section.replace('-', '_').lower()}."]
    found: dict[str, list[tuple[str, str, str]]] = {}
    for row in show_config(kernel):
        if head := next((head for head in heads if row.key.startswith(head)), ""):
            key, _, below = row.key.removeprefix(head).partition(".")
            found.setdefault(key, []).append((below, row.value, row.where))
    return found
