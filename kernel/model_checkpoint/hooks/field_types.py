"""Whether a field takes what a hook puts into it, so that the hook is blamed and not the one who saves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from model_checkpoint.common.numbers import as_metric_value
from model_checkpoint.errors import MetricError
from model_checkpoint.hooks.specs.marks import split_outside_brackets

_CONTAINERS: dict[str, type] = {"dict": dict, "list": list, "set": set, "tuple": tuple, "Mapping": Mapping}
_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "bool": (bool,), "bytes": (bytes,), "Path": (Path, os.PathLike),
    "None": (type(None),),
}  # fmt: skip


def fits(value: object, kind: str) -> bool:
    """Say whether `value` is of a type as the specs write it: ``dict[str, float]``, ``str | None``.

    >>> fits({"loss": 0.5}, "dict[str, float]"), fits({"loss": "low"}, "dict[str, float]"), fits(None, "str | None")
    (True, False, True)
    """
    return any(_fits_one(value, each.strip()) for each in split_outside_brackets(kind, "|"))


def _fits_one(value: object, kind: str) -> bool:
    name, _, inner = kind.rstrip("]").partition("[")
    if name == "float":
        return _is_number(value)
    if name in _PLAIN:
        return isinstance(value, _PLAIN[name])
    if name not in _CONTAINERS:  # object, Any, JSON: whatever reads it checks it
        return True
    if not isinstance(value, _CONTAINERS[name]):
        return False
    kinds = [each.strip() for each in split_outside_brackets(kind[len(name) + 1 : -1], ",")] if inner else []
    if isinstance(value, Mapping) and len(kinds) == 2:
        return all(fits(key, kinds[0]) and fits(item, kinds[1]) for key, item in value.items())
    if isinstance(value, list | set) and kinds:
        return all(fits(item, kinds[0]) for item in value)
    return True


def _is_number(value: object) -> bool:
    try:
        as_metric_value("value", value)
    except MetricError:
        return False
    return True
