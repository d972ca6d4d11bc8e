"""The order in which the hooks of one event are called.

::

    pluggy calls a caller's list from its end:

    [ LOW ... NORMAL ... HIGH ... CRITICAL | LOW ... CRITICAL ]
      last                            first  inner ... outermost
      ----------- plain hooks ------------   ---- wrappers -----

Within one priority the hook that was registered first is called first. This is the only place that touches anything
private of pluggy: the list ``_hookimpls``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pluggy import HookCaller, HookImpl

    from model_checkpoint.hooks.record import HookRecord


def arrange(caller: HookCaller, known: Mapping[HookImpl, HookRecord]) -> None:
    """Put the enabled hooks of `caller`, all of them in `known`, in order; leave the others out. Atomic."""
    enabled = [impl for impl, record in known.items() if record.enabled]
    caller._hookimpls[:] = sorted(enabled, key=lambda impl: _position(known[impl]))


def _position(record: HookRecord) -> tuple[bool, int, int, int]:
    priority, edge, number = record.order
    return (record.kind != "plain", -priority, -edge, -number)
