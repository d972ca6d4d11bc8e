"""Checks the section of one plugin against the schema that the plugin brings: a dataclass, or a pydantic model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_origin, get_type_hints

from model_checkpoint.common.secrets import MASK
from model_checkpoint.config.check import Unfit, describe, split
from model_checkpoint.config.keys import dotted, nearest, undotted
from model_checkpoint.config.masks import shown
from model_checkpoint.errors import ConfigProblems, ConfigurationError


def check_section(schema: type, raw: Mapping[str, object], where: str) -> object:
    """Return an instance of `schema` made of a raw section; its defaults where the section is empty.

    Text is taken for a number or a truth value, as a variable such as ``MCE_PLUGINS__S3__RETRIES=3`` can give nothing
    else, and for a list with commas. `where` is the section's key, ``plugins.s3``. Raises `ConfigProblems` with all
    that is wrong, unknown keys among it.
    """
    if not raw and _needs_nothing(schema):
        return schema()
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    plain = {key: _thawed(value) for key, value in raw.items()}
    path = undotted(where)
    try:
        problems = list(_unknown_keys(schema, plain, path))
        made: object = TypeAdapter(schema).validate_python(_with_lists(schema, plain, where, problems))
    except ValidationError as error:
        for each in error.errors():
            key = (*path, *(str(part) for part in each["loc"]))
            is_secret = each["type"] == "secret"
            found = "" if each["type"] == "missing" else f"={repr(MASK) if is_secret else shown(key, each['input'])}"
            if each["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):
                problems.append(f"{dotted(key)}{found}: {describe({**each, 'loc': ()})}")
    except (PydanticUserError, NameError) as error:
        raise ConfigurationError(
            f"[{where}] cannot be checked: {schema.__qualname__} is no schema that pydantic takes: {error}"
        ) from error
    if problems:
        raise ConfigProblems(problems)
    return made


def _needs_nothing(schema: type) -> bool:
    if not is_dataclass(schema):
        return False
    return all(
        each.default is not MISSING or each.default_factory is not MISSING for each in fields(schema) if each.init
    )


def _thawed(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _thawed(each) for key, each in value.items()}
    return [_thawed(each) for each in value] if isinstance(value, tuple) else value


def _names(schema: Any) -> dict[str, Any] | None:
    """Return name -> type of the fields of a schema, or None where `schema` is none."""
    if isinstance(schema, type) and is_dataclass(schema):
        hints = get_type_hints(schema)
        return {each.name: hints[each.name] for each in fields(schema) if each.init}
    own = getattr(schema, "model_fields", None)
    if not isinstance(own, dict) or getattr(schema, "model_config", {}).get("extra") == "allow":
        return None
    return {name: each.annotation for field, each in own.items() for name in (field, each.alias) if name}


def _unknown_keys(schema: Any, raw: Mapping[str, object], above: tuple[str, ...]) -> Iterator[str]:
    names = _names(schema)
    if names is None:
        return
    for name, value in raw.items():
        if name not in names:
            yield f"{dotted((*above, name))} is not known{nearest(name, names)}"
        elif isinstance(value, dict):
            yield from _unknown_keys(names[name], value, (*above, name))


def _with_lists(schema: type, raw: dict[str, object], where: str, problems: list[str]) -> dict[str, object]:
    """Return `raw` with text split where the schema wants a list."""
    given = dict(raw)
    for name, kind in (_names(schema) or {}).items():
        value = given.get(name)
        if isinstance(value, str) and get_origin(kind) in (tuple, list, set, frozenset):
            try:
                given[name] = split(value)
            except Unfit as error:
                problems.append(f"{where}.{name}={shown((name,), value)} {error}")
                del given[name]
    return given
