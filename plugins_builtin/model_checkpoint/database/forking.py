"""A SQLite connection must never be used across ``fork()``: the child's copy would corrupt what the parent writes.

After a fork the child starts with an empty pool. The inherited connections are kept, unused, for as long as the process
lives: closing them would tidy up locks and files that are the parent's.
"""

from __future__ import annotations

import os
import weakref

from sqlalchemy import Engine, Pool

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_inherited: list[Pool] = []


def forget_after_fork(engine: Engine) -> None:
    """See to it that a forked child of this process opens its own connections."""
    _engines.add(engine)


def _start_anew() -> None:
    for engine in list(_engines):
        _inherited.append(engine.pool)
        engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
