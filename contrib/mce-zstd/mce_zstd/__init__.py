"""Tensors in less room: `write_file` and `read_file` for ``.mcez`` files, and the plugin that provides the codec."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mce_zstd.reader import read_file
    from mce_zstd.writer import write_file

__all__ = ["read_file", "write_file"]

_MODULES = {"read_file": "mce_zstd.reader", "write_file": "mce_zstd.writer"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
