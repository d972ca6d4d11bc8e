"""Answers questions about records from memory for as long as nobody has written: to this store, from any process.

::

    question + version of the store -> answer       LRU; after TTL_S seconds the store is asked anew

The version is asked for before the answer, so an answer is at least as new as the version that it is kept under.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from model_checkpoint.contracts import BestFlag, CheckpointRecord, RecordStore, RunRecord, Versioned

MOST_ANSWERS = 4_096
LONGEST_LIST = 256
"""Records. Longer lists, and those without a limit, are not kept."""
TTL_S = 60.0


class CachedRecords:
    """A record store whose small answers are kept. Everything else goes straight to the store."""

    def __init__(self, store: Versioned) -> None:
        self._versioned = store
        self._store = cast("RecordStore", store)
        self._kept = lru_cache(MOST_ANSWERS)(self._ask)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _ask(self, version: object, age: int, method: str, arguments: tuple[tuple[str, object], ...]) -> Any:
        return getattr(self._store, method)(**dict(arguments))

    def _answer(self, method: str, **arguments: object) -> Any:
        version = self._versioned.version()
        if version is None or not all(isinstance(value, str | int | None) for value in arguments.values()):
            return getattr(self._store, method)(**arguments)
        return self._kept(version, int(time.monotonic() / TTL_S), method, tuple(arguments.items()))

    def get_checkpoint(self, checkpoint_id: str) -> CheckpointRecord | None:
        return cast("CheckpointRecord | None", self._answer("get_checkpoint", checkpoint_id=checkpoint_id))

    def get_run(self, name_or_id: str) -> RunRecord | None:
        return cast("RunRecord | None", self._answer("get_run", name_or_id=name_or_id))

    def find_alias(self, name: str, *, experiment_id: str | None = None) -> CheckpointRecord | None:
        return cast("CheckpointRecord | None", self._answer("find_alias", name=name, experiment_id=experiment_id))

    def best_flags(self, run_id: str) -> dict[str, BestFlag]:
        return dict(self._answer("best_flags", run_id=run_id))

    def best_checkpoint(
        self, *, metric: str, mode: str, run_id: str | None = None, experiment_id: str | None = None
    ) -> CheckpointRecord | None:
        found = self._answer("best_checkpoint", metric=metric, mode=mode, run_id=run_id, experiment_id=experiment_id)
        return cast("CheckpointRecord | None", found)

    def list_checkpoints(
        self,
        *,
        run_id: str | None = None,
        experiment_id: str | None = None,
        tag: str | None = None,
        include_damaged: bool = True,
        limit: int | None = None,
    ) -> list[CheckpointRecord]:
        where = {"run_id": run_id, "experiment_id": experiment_id, "tag": tag}
        if type(limit) is int and limit <= LONGEST_LIST:
            return list(self._answer("list_checkpoints", **where, include_damaged=include_damaged, limit=limit))
        return self._store.list_checkpoints(**where, include_damaged=include_damaged, limit=limit)

    def counts(self) -> dict[str, int]:
        """Return how many answers came from memory, and how many from the store."""
        info = self._kept.cache_info()
        return {"hits": info.hits, "misses": info.misses}
