"""Hears from a kernel how long its writes take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from model_checkpoint.hooks import HookEvent

if TYPE_CHECKING:
    from model_checkpoint.cadence.training import Cadence


def measure_writes(cadence: Cadence, kernel: object) -> Callable[[], None]:
    """Tell `cadence` of each save of `kernel` how long it took until it was durable; return what ends that."""
    hooks, name = cast("Any", kernel).hooks, f"cadence-{id(cadence):x}"

    def told(context: Any) -> None:
        cadence.saved(write_s=context.duration_s)

    hooks.register_hook(name, told, [HookEvent.AFTER_CHECKPOINT_SAVE])
    return lambda: hooks.unregister_hook(name)
