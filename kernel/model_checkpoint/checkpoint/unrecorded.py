"""Warns where records begin anew beside checkpoints that are stored: a lost database must not go unnoticed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from model_checkpoint.errors import CheckpointEngineError

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.services import Services

MOST_COUNTED = 10_000
_log = logging.getLogger("model_checkpoint")


def warn_of_unrecorded(services: Services, backends: Iterable[str]) -> int:
    """Log one warning where the records are empty and `backends` hold checkpoints; return how many.

    For the moment at which a kernel opens: a training would start over there, though its checkpoints are safe. Costs a
    query where anything is recorded, else a listing of each backend, which counts to `MOST_COUNTED`. `backends` are
    those that have a store already; none is made. One that cannot be listed is a warning too.
    """
    records = services.records
    if services.rank or records.list_runs(limit=1) or records.list_checkpoints(limit=1):
        return 0
    counts = {name: _count(services, name) for name in backends}
    total = sum(counts.values())
    if total:
        held = ", ".join(
            f"{name!r} {count}{' or more' if count == MOST_COUNTED else ''}" for name, count in counts.items() if count
        )
        _log.warning(
            "the records in %s are new, and storage holds checkpoints that they do not know (%s): a training would"
            " start over here. If a database was lost or moved, put it back, or call kernel.rebuild() before anything"
            " is saved",
            records.url,
            held,
        )
    return total


def _count(services: Services, name: str) -> int:
    try:
        return sum(1 for _ in islice(services.backends.open(name).list_ids(), MOST_COUNTED))
    except CheckpointEngineError as error:
        _log.warning("whether %r holds checkpoints that are not recorded cannot be told: %s", name, error)
        return 0
