"""The trainer's side of the engine: one run, saves that do not block, and the limit on how many are kept."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_checkpoint.common.ids import slug
from model_checkpoint.contracts import CheckpointRecord
from model_checkpoint.errors import CheckpointEngineError, CheckpointNotFoundError, ProtectedCheckpointError
from model_checkpoint.hooks import hookimpl
from model_checkpoint.kernel import Kernel

BEST_STEP = "best_global_step"
"""The entry of a checkpoint's metadata that says which step was the best when it was saved."""
MARK = "transformers"
"""The entry of a checkpoint's metadata that says that a trainer saved it; others are no business of its limit."""
COLLECT_AFTER = 2
"""The space of deleted checkpoints is given back when so many of the size of the last one were deleted."""
_log = logging.getLogger("model_checkpoint")


class TrainerStore:
    """Saves and finds the checkpoints of one trainer.

    Without `database_url` and `kernel` everything lies in the trainer's ``output_dir``, and the run is called after it:
    one folder, one run, as the trainer has it. With them, run and experiment are what `run`, `experiment`, ``MCE_RUN``
    or the job scheduler say.
    """

    def __init__(
        self,
        output_dir: str,
        *,
        limit: int | None,
        metric_modes: Mapping[str, str] | None = None,
        database_url: str | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        experiment: str | None = None,
        run: str | None = None,
        kernel: Kernel | None = None,
    ) -> None:
        folder = Path(output_dir).resolve()
        name = slug(folder.name) or "trainer"
        if kernel is None and database_url is None:
            folder.mkdir(parents=True, exist_ok=True)
            database_url = f"sqlite:///{folder / 'experiments.db'}"
            run = run or os.environ.get("MCE_RUN") or name
        self._owns_kernel = kernel is None
        self.kernel = kernel or Kernel.open(
            database_url, checkpoint_dir=checkpoint_dir, metric_modes=metric_modes, quiet=True
        )
        self._plan: dict[str, Any] = {"experiment": experiment or name, "run": run}
        self._limit = limit if limit and limit > 0 else None
        self._lock = threading.Lock()
        self._unseen: list[str] = []
        self._deleted_nbytes = 0
        self.kernel.hooks.register(self, f"transformers-{id(self):x}")

    def begin(self, *, adopt: bool) -> None:
        """Begin the run, or go on with it."""
        if self.kernel.active_run is None:
            self.kernel.start_run(**self._plan, adopt=adopt)

    def save(self, objects: Mapping[str, object], *, wait: bool, best_step: int | None, **told: Any) -> str:
        """Save and return the checkpoint's id."""
        self.begin(adopt=False)
        metadata = {MARK: True, BEST_STEP: best_step}
        saved = self.kernel.save(objects, metadata=metadata, wait=wait, **told)
        with self._lock:
            self._unseen = [*self._unseen[-1:], saved]  # at most two are under way
        return saved

    def settle(self) -> None:
        """Wait until every save is durable. Raises what one failed with."""
        with self._lock:
            waited, self._unseen = self._unseen, []
        for checkpoint_id in waited:
            try:
                self.kernel.wait(checkpoint_id)
            except CheckpointNotFoundError:  # it was, and the limit took it away again
                continue

    def at_step(self, step: int) -> CheckpointRecord | None:
        """Return the newest whole checkpoint of a step, or None."""
        return next((record for record in self._own() if record.step == step), None)

    def close(self) -> None:
        """End the run and close the kernel, if it was opened here. Happens by itself when the process ends."""
        if self._owns_kernel:
            self.kernel.close()

    @hookimpl
    def after_checkpoint_save(self, context: Any) -> None:
        """Delete what ``save_total_limit`` leaves out: never before the new one is durable."""
        records = self._own()
        if self._limit is None or not records or records[0].id != context.checkpoint_id:
            return
        best = records[0].metadata.get(BEST_STEP)
        kept = {records[0].id} | {record.id for record in records if best is not None and record.step == best}
        excess = len(records) - max(self._limit, len(kept))
        for record in reversed(records):
            if excess <= 0:
                break
            if record.id not in kept:
                self._delete(record)
                excess -= 1
        if self._deleted_nbytes >= COLLECT_AFTER * records[0].nbytes:
            self._deleted_nbytes = 0
            self.kernel.collect()

    def _own(self) -> list[CheckpointRecord]:
        """The whole checkpoints that a trainer saved in this run, the newest first."""
        return [each for each in self.kernel.checkpoints() if each.metadata.get(MARK) and not each.damage]

    def _delete(self, record: CheckpointRecord) -> None:
        try:
            self.kernel.delete(record.id, reason="save_total_limit")
            self._deleted_nbytes += record.nbytes
        except ProtectedCheckpointError as error:  # pinned, or named: it is kept beside the limit
            _log.info("%s", error)
        except CheckpointEngineError as error:
            _log.warning("checkpoint %s was not deleted: %s", record.id, error)
