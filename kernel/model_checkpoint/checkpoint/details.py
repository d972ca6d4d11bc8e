"""What a person writes beside a checkpoint or a run: tags, metadata, config. Checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from model_checkpoint.common.leaves import encode
from model_checkpoint.common.numbers import as_metric_value
from model_checkpoint.errors import ConfigurationError
from model_checkpoint.errors.base import bullet_list

if TYPE_CHECKING:
    from model_checkpoint.contracts import JSON


def checked_tags(tags: object) -> dict[str, str]:
    """Return tags as a dict: a mapping of strings, or labels, which get an empty value.

    Raises ``ConfigurationError`` that lists every key and value which is no string.
    """
    if tags is None:
        return {}
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise ConfigurationError(
            f"tags={tags!r} is a {type(tags).__name__}: give a list of labels, such as ['candidate'], or a mapping of"
            " strings"
        )
    pairs = list(tags.items()) if isinstance(tags, Mapping) else [(label, "") for label in tags]
    wrong = [f"{key!r}: {value!r}" for key, value in pairs if not (isinstance(key, str) and isinstance(value, str))]
    if wrong:
        raise ConfigurationError(f"tags are strings with string values; these are not: {', '.join(wrong)}")
    return dict(pairs)


def as_json(values: object, what: str) -> dict[str, JSON]:
    """Return a mapping as JSON, what JSON lacks in the vocabulary of `model_checkpoint.common.leaves`.

    Raises ``ConfigurationError`` that names every NaN and infinity, ``UnstorableStateError`` for other values.
    """
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{what} is a {type(values).__name__}: give a mapping, such as {{'note': 'baseline'}}")
    tree = encode(dict(values), _nothing_else, path=what)
    if wrong := list(_not_finite(tree, what)):
        raise ConfigurationError(
            f"{what} is kept as JSON, which has no such numbers; write them as text, or leave them out:"
            f"{bullet_list(wrong)}"
        )
    return cast("dict[str, JSON]", tree)


def _not_finite(tree: object, path: str) -> Iterator[str]:
    if isinstance(tree, dict) and tree.get("$") == "float":
        yield f"{path}: {tree['v']}"
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _not_finite(value, f"{path}.{key}")
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _not_finite(value, f"{path}[{index}]")


def _nothing_else(value: object, path: str, encode: Callable[[object, str], object]) -> object | None:
    return None


def as_numbers(metrics: object) -> dict[str, float]:
    """Return metrics as plain numbers. Raises ``MetricError`` naming the one that is none, ``ConfigurationError``."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        kind = type(metrics).__name__
        raise ConfigurationError(f"metrics is a {kind}: give a mapping, such as {{'val_loss': 0.1}}")
    return {name: as_metric_value(name, value) for name, value in metrics.items()}


def json_number(value: float) -> JSON:
    """Return a number as JSON holds it losslessly: NaN and infinities as words."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
