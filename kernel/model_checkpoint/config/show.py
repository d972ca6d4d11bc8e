"""What holds and why, as rows for a reader."""

from __future__ import annotations

from typing import NamedTuple

from model_checkpoint.common.secrets import MASK, is_reference
from model_checkpoint.config.keys import PLUGINS, dotted, known, leaves
from model_checkpoint.config.load import Loaded
from model_checkpoint.config.masks import as_text


class Row(NamedTuple):
    """One setting: its key, its value with secrets masked, its layer, the file or variable, when a change applies."""

    key: str
    value: str
    layer: str
    where: str
    applies: str


def show(loaded: Loaded) -> list[Row]:
    """Return a row for every setting of the kernel and everything set for plugins, sorted within each of the two."""
    values: list[tuple[tuple[str, ...], object, str]] = []
    for key, declared in sorted(known().items()):
        value: object = loaded.config
        for part in key:
            value = getattr(value, part)
        values.append((key, value, declared.applies))
    values.append((("environment",), loaded.config.environment, "restart"))
    values += [(key, value, "as its plugin says") for key, value in sorted(leaves(loaded.config.plugins, (PLUGINS,)))]
    return [
        Row(dotted(key), _shown(key, value, origin[0]), *origin, applies)
        for key, value, applies in values
        for origin in [loaded.origins.get(dotted(key), ("", ""))]
    ]


def _shown(key: tuple[str, ...], value: object, layer: str) -> str:
    if layer == "secrets" and key[0] == PLUGINS:  # whatever it is called, somebody put it there
        return value if isinstance(value, str) and is_reference(value) else MASK
    return as_text(key, value, _text)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)
