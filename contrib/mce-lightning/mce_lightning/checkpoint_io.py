"""`MceCheckpointIO`: what Lightning saves at a path goes into the store, and a pointer is left at the path.

::

    save_checkpoint(state, "last.ckpt")   the store has it -> the pointer moves -> what it led to is deleted
    remove_checkpoint("old.ckpt")         waits until every save that is under way is durable
    load_checkpoint("last.ckpt")          every byte verified; a damaged `last` falls back aloud

So whatever kills the process, the path leads to a whole checkpoint: the new one or the one before.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO, TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection

from mce_lightning import layout, pointer
from mce_lightning.publisher import Publisher
from model_checkpoint.checkpoint.resume import ResumeFallbackWarning
from model_checkpoint.contracts import CheckpointRecord
from model_checkpoint.errors import CheckpointNotFoundError, ConfigurationError, IntegrityError, RunInUseError
from model_checkpoint.kernel import Kernel

_log = logging.getLogger("model_checkpoint")


class MceCheckpointIO(CheckpointIO):  # type: ignore[misc]
    """Give it to ``Trainer(plugins=[MceCheckpointIO()])``; `MceCheckpoint` does that by itself.

    Args:
        database_url: record store; default ``sqlite:///experiments.db`` in the working directory.
        checkpoint_dir: the store; default ``checkpoints/`` beside the SQLite file.
        experiment: name of the series of runs; default, the script's name.
        run: name of the run; default, decided by ``MCE_RUN`` or the job scheduler. A fit that is resumed from one of
            our paths goes on with the run of that checkpoint.
        wait: let every save block until it is durable.
        metric_modes: ``min`` or ``max`` for metrics whose names do not tell.
        kernel: use this open kernel instead of opening one.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        experiment: str | None = None,
        run: str | None = None,
        wait: bool = False,
        metric_modes: Mapping[str, str] | None = None,
        kernel: Kernel | None = None,
    ) -> None:
        self._given = kernel
        self._opening: dict[str, Any] = {
            "database_url": database_url,
            "checkpoint_dir": checkpoint_dir,
            "metric_modes": metric_modes,
        }
        self._plan: dict[str, Any] = {"experiment": experiment, "run": run}
        self.wait = wait
        self.next_metrics: dict[str, float] = {}
        """Stored with the next checkpoint; `MceCheckpoint` fills it."""
        self._publisher: Publisher | None = None

    @property
    def publisher(self) -> Publisher:
        """What moves the pointers; the kernel is opened when it is first needed."""
        if self._publisher is None:
            kernel = self._given or Kernel.open(**self._opening)
            if kernel.active_run is None:
                kernel.plan_run(**self._plan)
            self._publisher = Publisher(kernel)
            kernel.hooks.register(self._publisher, f"lightning-{id(self):x}")
        return self._publisher

    @property
    def kernel(self) -> Kernel:
        """The kernel that holds the checkpoints: list, rank, tag, pin and export them through it."""
        return self.publisher.kernel

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save what the trainer dumped. Raises ``UnstorableStateError`` that names every value that cannot be stored.

        Returns as soon as the state is copied, unless `wait` was asked for. A save that fails later is raised by the
        next one, or at the end of the fit.
        """
        if storage_options is not None:
            raise ConfigurationError(
                f"storage_options={storage_options!r} are those of a file system, and the store has its own settings:"
                " leave them out"
            )
        place = pointer.local_path(path)
        metrics, self.next_metrics = self.next_metrics or layout.monitored(checkpoint), {}
        self.publisher.save(
            place,
            layout.to_objects(checkpoint),
            epoch=layout.whole(checkpoint.get("epoch")),
            step=layout.whole(checkpoint.get("global_step")),
            metrics=metrics,
            wait=self.wait,
        )

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return what was saved at a path, every byte verified.

        A damaged checkpoint under a name that begins with ``last`` is passed over with a ``ResumeFallbackWarning`` for
        the newest older one of its run that is whole; under another name it raises ``IntegrityError``. A file that
        Lightning wrote itself is read as Lightning does.
        """
        if "://" in str(path):
            return dict(TorchCheckpointIO().load_checkpoint(path, map_location, weights_only))
        place = pointer.local_path(path)
        self.publisher.settle(place)
        found = pointer.read(place)
        if found is None:
            return dict(TorchCheckpointIO().load_checkpoint(path, map_location, weights_only))
        record, state = self._load(found, fall_back=place.name.startswith("last"))
        self._go_on_with(record)
        if isinstance(map_location, str | torch.device):
            return dict(apply_to_collection(state, torch.Tensor, lambda tensor: tensor.to(map_location)))
        return state

    def remove_checkpoint(self, path: Any) -> None:
        """Delete what a path leads to, once every save that is under way is durable. What is pinned stays."""
        self.publisher.remove(pointer.local_path(path))

    def materialise(self, path: Any) -> Path:
        """Make the path a file of Lightning's own format, verified, that ``load_from_checkpoint`` opens; return it.

        It costs the bytes of a checkpoint, and goes when the checkpoint does.
        """
        place = pointer.local_path(path)
        self.publisher.settle(place)
        found = pointer.read(place)
        if found is None or pointer.sidecar(place).exists() or pointer.sidecar(place.resolve()).exists():
            return place  # it is one already
        _, state = self._load(found, fall_back=False)
        target = place.resolve()  # where a link leads, so that both names open
        temp = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
        try:
            with temp.open("xb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            pointer.step_aside(target, found, temp)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        return place

    def exists(self, path: Any) -> bool:
        """Say whether a path leads to a checkpoint, or will as soon as a save under way is durable."""
        return os.path.lexists(path) or pointer.local_path(path) in self.publisher.pending_paths

    def teardown(self) -> None:
        """Wait until every save is durable. Raises what one failed with. Called by Lightning at the end of a fit."""
        if self._publisher is not None:
            self._publisher.settle()

    def close(self) -> None:
        """End the run and close the kernel, if it was opened here. Happens by itself when the process ends."""
        if self._publisher is not None and self._given is None:
            self._publisher.kernel.close()
            self._publisher = None

    def _load(self, found: pointer.Pointer, *, fall_back: bool) -> tuple[CheckpointRecord, dict[str, Any]]:
        kernel = self.kernel
        record = kernel.checkpoint(found.checkpoint_id)
        candidates, passed = [record], list[str]()
        if fall_back:
            of_run = kernel.records.list_checkpoints(run_id=record.run_id)
            candidates += [each for each in of_run if each.sequence < record.sequence and not each.damage]
        while True:
            record = candidates.pop(0)
            try:
                report = kernel.load(record.id)
            except IntegrityError as error:
                passed.append(f"{record.id}: {error}")
                if not candidates:
                    raise
                continue
            if passed:
                warnings.warn(
                    f"loading the older checkpoint {record.id}; passed over: " + "; ".join(passed),
                    ResumeFallbackWarning,
                    stacklevel=4,
                )
            return record, layout.to_checkpoint(report)

    def _go_on_with(self, record: CheckpointRecord) -> None:
        """Let what is saved from now on belong to the run of the checkpoint, unless another process works on it."""
        kernel = self.kernel
        if kernel.active_run is not None or self._plan["run"] or os.environ.get("MCE_RUN"):
            return
        try:
            kernel.start_run(self._plan["experiment"] or self._experiment_of(record), run=record.run_name)
        except RunInUseError:
            _log.warning("run %s is being written by another process: this fit is a run of its own", record.run_name)

    def _experiment_of(self, record: CheckpointRecord) -> str:
        run = self.kernel.records.get_run(record.run_id)
        if run is None:
            raise CheckpointNotFoundError(f"the run of checkpoint {record.id} is not recorded: rebuild the records")
        return run.experiment_name
