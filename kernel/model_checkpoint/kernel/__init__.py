"""The kernel: opens, wires and closes everything, and is what scripts and plugin authors hold in their hands.

>>> from model_checkpoint.kernel import Kernel, hookimpl

`Kernel` is imported when it is first asked for: a plugin that only wants `hookimpl` does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_checkpoint.hooks import hookimpl

if TYPE_CHECKING:
    from model_checkpoint.kernel.kernel import Kernel
    from model_checkpoint.kernel.settings import show_config
    from model_checkpoint.plugins import KERNEL_API

__all__ = ["KERNEL_API", "Kernel", "hookimpl", "show_config"]

_LAZY = {"Kernel": "kernel.kernel", "KERNEL_API": "plugins.policy", "show_config": "kernel.settings"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"model_checkpoint.{_LAZY[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value
