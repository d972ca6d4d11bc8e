"""What writing and reading share: the words, the classes that may be named, and how a place in the tree is written."""

from __future__ import annotations

import sys
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import TypeVar

from model_checkpoint.errors import StateDecodeError

T = TypeVar("T")
KIND = "$"
MAX_DEPTH = 100
"""Levels of containers. Each costs four or five calls on the way in and out, and Python allows a thousand."""
EXACT_INT = 2**53
"""Up to here every reader of JSON keeps an integer exact."""
FACTORIES: dict[str, type] = {
    kind.__name__: kind for kind in (int, float, str, list, dict, set, tuple, bool, bytes, complex)
}
PATHS: dict[str, type[PurePath]] = {
    kind.__name__: kind for kind in (PosixPath, WindowsPath, PurePosixPath, PureWindowsPath)
}
FOREIGN_PATHS: dict[str, type[PurePath]] = {
    kind.__name__: pure
    for kind, pure in ((PosixPath, PurePosixPath), (WindowsPath, PureWindowsPath))
    if not isinstance(Path(), kind)
}
"""Paths of the other operating system: they come back pure, since this one cannot open them."""


def child_path(path: str, key: object) -> str:
    """Return where `key` of the container at `path` stands: ``model.weight``, ``state[0]``.

    >>> child_path("model", "weight"), child_path("state", 0), child_path("", "weight")
    ('model.weight', 'state[0]', 'weight')
    """
    if type(key) is str:
        return f"{path}.{key}" if path else key
    return f"{path}[{shown(key)}]"


def shown(value: object, limit: int = 60) -> str:
    """Return a short ``repr`` that never fails."""
    try:
        text = repr(value)
    except Exception as error:  # a stranger's repr may raise anything
        return f"<repr raised {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def class_name(cls: type) -> str:
    """Return ``module:Qualified.Name``. Raises TypeError where that name would not lead back to `cls`."""
    name = f"{cls.__module__}:{cls.__qualname__}"
    if _find(name) is not cls:
        raise TypeError(
            f"its class {cls.__qualname__} cannot be found again by that name in {cls.__module__};"
            " define the class at the top level of a module"
        )
    return name


def find_class(name: object, base: type[T], kind: str) -> type[T]:
    """Return an imported class, importing nothing. Raises ``StateDecodeError`` where there is none of that name."""
    found = _find(str(name))
    if isinstance(found, type) and issubclass(found, base):
        return found
    module = str(name).partition(":")[0]
    raise StateDecodeError(
        f"the state holds a {kind} of {shown(name)}, and this process has no such class: import {module!r} before"
        " loading (reading a checkpoint imports nothing by itself)"
    )


def _find(name: str) -> object:
    """Walk `vars`, not attributes: torch and others import a submodule when an attribute is asked for."""
    module, _, qualname = name.partition(":")
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found
