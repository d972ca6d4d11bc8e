"""`MceCheckpoint`: in place of ``ModelCheckpoint``, with the same arguments, names, paths and answers.

Lightning's own class decides when to save, what is best and how files are called; where the bytes go, and what lies at
the paths, is `MceCheckpointIO`'s.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

from mce_lightning import layout, pointer
from mce_lightning.checkpoint_io import MceCheckpointIO
from model_checkpoint.errors import ConfigurationError
from model_checkpoint.kernel import Kernel

STREAMS = "random_streams"


class MceCheckpoint(ModelCheckpoint):  # type: ignore[misc]
    """A ``ModelCheckpoint`` whose checkpoints are verified, stored once, and written while the training goes on.

    Takes every argument of ``ModelCheckpoint``, by position too, and these by name:

    Args:
        database_url, checkpoint_dir, experiment, run, wait, kernel: as `MceCheckpointIO` does.
        restore_random: put the random streams of Python, numpy and torch back when a fit is resumed.

    ``best_model_path`` and ``last_model_path`` give a file that ``torch.load`` and ``load_from_checkpoint`` open; it is
    written when they are first read. Raises ``ConfigurationError`` for a ``dirpath`` that is a URL, and for a trainer
    with more than one process or with another ``CheckpointIO``.
    """

    def __init__(
        self,
        *arguments: Any,
        database_url: str | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        experiment: str | None = None,
        run: str | None = None,
        wait: bool = False,
        kernel: Kernel | None = None,
        restore_random: bool = True,
        **named: Any,
    ) -> None:
        self._own = 1  # while Lightning's code runs that means the path, not the file
        self._paths = {"best": "", "last": ""}
        self._streams: dict[str, Any] | None = None
        self._io: MceCheckpointIO | None = None
        dirpath = arguments[0] if arguments else named.get("dirpath")
        if dirpath is not None:
            pointer.local_path(dirpath)
        super().__init__(*arguments, **named)
        modes = {self.monitor: self.mode} if self.monitor is not None else None
        self._made = MceCheckpointIO(
            database_url,
            checkpoint_dir=checkpoint_dir,
            experiment=experiment,
            run=run,
            wait=wait,
            metric_modes=modes,
            kernel=kernel,
        )
        self._restores_random = restore_random
        self._own = 0

    @property
    def io(self) -> MceCheckpointIO:
        """Where the checkpoints go; ``callback.io.kernel`` lists, ranks, tags, pins and exports them."""
        return self._io or self._made

    @property
    def state_key(self) -> str:
        """The key of ModelCheckpoint's own state, so that either takes up what the other saved."""
        return str(super().state_key).replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    @property
    def best_model_path(self) -> str:
        """The best checkpoint (without `monitor` the newest), as a file; empty before there is one."""
        return self._file("best")

    @best_model_path.setter
    def best_model_path(self, path: str) -> None:
        self._paths["best"] = str(path)

    @property
    def last_model_path(self) -> str:
        """The checkpoint of ``save_last``, as a file; empty before there is one."""
        return self._file("last")

    @last_model_path.setter
    def last_model_path(self, path: str) -> None:
        self._paths["last"] = str(path)

    def _file(self, which: str) -> str:
        path = self._paths[which]
        if path and not self._own and self.io.exists(path):
            self.io.materialise(path)
        return path

    @contextlib.contextmanager
    def _lightning_at_work(self) -> Iterator[None]:
        self._own += 1
        try:
            yield
        finally:
            self._own -= 1

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Put the store in place of Lightning's files."""
        if trainer.world_size > 1:
            raise ConfigurationError(
                f"this trainer has {trainer.world_size} processes, and mce-lightning saves for one: use ModelCheckpoint"
                " for this training, or one device"
            )
        current = trainer.strategy.checkpoint_io
        if isinstance(current, MceCheckpointIO):
            self._io = current
        elif type(current) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = self._io = self._made
        else:
            remedy = (
                "leave it out: saves do not block here either"
                if isinstance(current, AsyncCheckpointIO)
                else "use one of the two"
            )
            raise ConfigurationError(f"the trainer saves through a {type(current).__name__} already: {remedy}")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Put the random streams back, before the loader of the next epoch draws its order from them."""
        super().on_fit_start(trainer, pl_module)
        if self._streams is not None and self._restores_random:
            _restore(self._streams)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Put them back again where the fit goes on within an epoch, whose order was drawn long before."""
        super().on_train_start(trainer, pl_module)
        streams, self._streams = self._streams, None
        if streams is not None and self._restores_random and trainer.fit_loop.restarted_mid_epoch:
            _restore(streams)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Save as ``save_on_exception`` asks, and wait: the process may be about to end."""
        super().on_exception(trainer, pl_module, exception)
        self.io.teardown()

    def file_exists(self, filepath: Any, trainer: Any) -> bool:
        """Say whether a name is taken, also by a save that is not durable yet."""
        return bool(super().file_exists(filepath, trainer)) or self.io.exists(filepath)

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state, and the random streams."""
        with self._lightning_at_work():
            return {**super().state_dict(), STREAMS: _streams()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state up; also one that a ``ModelCheckpoint`` saved."""
        with self._lightning_at_work():
            super().load_state_dict(state_dict)
        self._streams = state_dict.get(STREAMS)

    def _save_topk_checkpoint(self, trainer: Any, monitor_candidates: Any) -> None:
        with self._lightning_at_work():
            super()._save_topk_checkpoint(trainer, monitor_candidates)

    def _save_last_checkpoint(self, trainer: Any, monitor_candidates: Any) -> None:
        with self._lightning_at_work():
            super()._save_last_checkpoint(trainer, monitor_candidates)

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        found = {name: layout.number(value) for name, value in trainer.callback_metrics.items()}
        self.io.next_metrics = {name: value for name, value in found.items() if value is not None}
        super()._save_checkpoint(trainer, filepath)

    def _link_checkpoint(self, trainer: Any, filepath: str, linkpath: str) -> None:
        self.io.publisher.settle()  # a link to a path that leads nowhere yet would lead nowhere after a kill
        ModelCheckpoint._link_checkpoint(trainer, filepath, linkpath)

    def __getstate__(self) -> Mapping[str, Any]:
        raise TypeError("an MceCheckpoint holds an open store and cannot be copied or sent to another process")


def _streams() -> dict[str, Any]:
    import numpy as np

    name, keys, *rest = np.random.get_state(legacy=True)
    streams: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),  # no array: torch.load(weights_only=True) reads none
        "cpu": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        streams["cuda"] = torch.cuda.get_rng_state_all()
    return streams


def _restore(streams: Mapping[str, Any]) -> None:
    import numpy as np

    random.setstate(streams["python"])
    np.random.set_state(streams["numpy"])
    torch.set_rng_state(streams["cpu"])
    if torch.cuda.is_available() and len(streams.get("cuda", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(streams["cuda"])
