"""An ``Accelerator`` whose ``save_state`` and ``load_state`` go through the engine.

Accelerate's hooks for saving reach the weights of the models alone; optimizers, schedulers and random streams are
pickled after them, whatever a hook does. So this takes the place of the two methods, and calls those hooks as they do.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from accelerate import Accelerator

from mce_accelerate.folders import FOLDER, Folders, checkpoint_in, numbered
from mce_accelerate.objects import prepared, refuse_shards
from model_checkpoint.checkpoint.report import LoadReport
from model_checkpoint.checkpoint.resume import ResumeFallbackWarning
from model_checkpoint.errors import CheckpointNotFoundError, ConfigurationError, IntegrityError
from model_checkpoint.kernel import Kernel

T = TypeVar("T", bound=Accelerator)


def with_mce(
    accelerator: T,
    *,
    database_url: str | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    experiment: str | None = None,
    run: str | None = None,
    wait: bool = False,
    kernel: Kernel | None = None,
) -> T:
    """Let an accelerator save into the engine; return it.

    Args:
        database_url: record store; default ``sqlite:///experiments.db`` in the working directory.
        checkpoint_dir: the store; default ``checkpoints/`` beside the SQLite file.
        experiment: name of the series of runs; default, the script's name.
        run: name of the run; default, decided by ``MCE_RUN`` or the job scheduler.
        wait: let every save block until it is durable.
        kernel: use this open kernel instead of opening one.

    Raises ``ConfigurationError`` for more than one process, and for FSDP, DeepSpeed and Megatron-LM.
    """
    refuse_shards(accelerator)
    if not isinstance(accelerator, MceAcceleratorMixin):
        kind = type(accelerator)
        accelerator.__class__ = type(
            f"Mce{kind.__name__}", (MceAcceleratorMixin, kind), {"__module__": kind.__module__}
        )
    mixed = cast("MceAcceleratorMixin", accelerator)
    opened = kernel or Kernel.open(database_url, checkpoint_dir=checkpoint_dir)
    if opened.active_run is None:
        opened.plan_run(experiment=experiment, run=run)
    mixed._mce, mixed._mce_wait, mixed._mce_owned = Folders(opened), wait, kernel is None
    mixed._mce_run = run or os.environ.get("MCE_RUN")
    return accelerator


class MceAcceleratorMixin:
    """What `with_mce` adds."""

    project_configuration: Any
    project_dir: Any
    _mce: Folders
    _mce_wait: bool
    _mce_owned: bool
    _mce_run: str | None
    _models: list[Any]
    _save_model_state_pre_hook: Mapping[Any, Any]
    _load_model_state_pre_hook: Mapping[Any, Any]

    @property
    def kernel(self) -> Kernel:
        """Where the checkpoints are: list, rank, tag, pin and export them through it."""
        return self._mce.kernel

    def save_state(
        self,
        output_dir: str | os.PathLike[str] | None = None,
        safe_serialization: bool = True,
        *,
        step: int | None = None,
        epoch: int | None = None,
        metrics: Mapping[str, object] | None = None,
        **save_model_func_kwargs: Any,
    ) -> str:
        """Save everything that was prepared or registered; return the folder, which then leads to it.

        Returns as soon as the state is copied, unless `with_mce` was told to wait. `safe_serialization` has no effect:
        nothing is ever pickled. Raises ``UnstorableStateError`` that names what cannot be stored.
        """
        if save_model_func_kwargs:
            raise ConfigurationError(f"{', '.join(save_model_func_kwargs)}: these are for shards, and there are none")
        folder = self._folder(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        kept = self._asked(folder)
        self.kernel.save(
            prepared(self, models=kept),
            step=step,
            epoch=epoch,
            metrics=metrics,
            metadata={FOLDER: str(folder)},
            wait=self._mce_wait,
        )
        self.project_configuration.iteration += 1
        return str(folder)

    def load_state(
        self,
        input_dir: str | os.PathLike[str] | None = None,
        load_kwargs: dict[str, Any] | None = None,
        **load_model_func_kwargs: Any,
    ) -> LoadReport | None:
        """Restore everything in place, verified, the random streams too; read a folder of Accelerate's own as it does.

        Without a folder it is the newest of ``automatic_checkpoint_naming`` that verifies, and a damaged one is passed
        over with a ``ResumeFallbackWarning``. Raises ``IntegrityError``, and ``StateMismatchError`` before anything
        changed.
        """
        self.settle()
        folders = [Path(os.path.abspath(os.path.expanduser(input_dir)))] if input_dir is not None else self._newest()
        if not folders or checkpoint_in(folders[0]) is None:
            super().load_state(input_dir, load_kwargs, **load_model_func_kwargs)  # type: ignore[misc]
            return None
        passed: list[str] = []
        while True:
            folder = folders.pop(0)
            try:
                report = self._restore(folder)
            except (IntegrityError, CheckpointNotFoundError) as error:
                passed.append(f"{folder.name}: {error}")
                if not folders:
                    raise
                continue
            if passed:
                told = f"loading the older {folder.name}; passed over: " + "; ".join(passed)
                warnings.warn(told, ResumeFallbackWarning, stacklevel=2)
            if input_dir is None:
                self.project_configuration.iteration = int(folder.name.rpartition("_")[2]) + 1
            return report

    def settle(self) -> None:
        """Wait until every save is durable. Raises what one failed with."""
        for checkpoint_id in self.kernel.pending_saves:
            try:
                self.kernel.wait(checkpoint_id)
            except CheckpointNotFoundError:  # total_limit took it away again
                continue

    def end_training(self) -> None:
        """Wait until every save is durable, end the run, and do what Accelerate does."""
        self.settle()
        if self._mce_owned:
            self.kernel.close()
        super().end_training()  # type: ignore[misc]

    def _restore(self, folder: Path) -> LoadReport:
        kernel, named = self.kernel, checkpoint_in(folder)
        if named is None:
            raise CheckpointNotFoundError(f"{folder} leads to no checkpoint")
        models = list(self._models)
        for hook in self._load_model_state_pre_hook.values():
            hook(models, str(folder))  # a hook takes out the models that it loads itself
        report = kernel.load(named, into=prepared(self, models=models))
        if kernel.active_run is None and not self._mce_run:
            record = kernel.checkpoint(named)
            run = kernel.records.get_run(record.run_id)
            kernel.start_run(run.experiment_name if run else None, run=record.run_name)
        return report

    def _asked(self, folder: Path) -> list[Any]:
        """Call the hooks before a save; return the models whose weights they left to us."""
        states: list[Any] = [model.state_dict() for model in self._models] if self._save_model_state_pre_hook else []
        left = list(states)
        for hook in self._save_model_state_pre_hook.values():
            hook(self._models, left, str(folder))
        if not self._save_model_state_pre_hook:
            return list(self._models)
        return [m for m, state in zip(self._models, states, strict=True) if any(state is each for each in left)]

    def _folder(self, output_dir: str | os.PathLike[str] | None) -> Path:
        settings = self.project_configuration
        if not settings.automatic_checkpoint_naming:
            if output_dir is None:
                raise ConfigurationError("say where: save_state(output_dir=...), or use automatic_checkpoint_naming")
            return Path(os.path.abspath(os.path.expanduser(output_dir)))
        base = Path(os.path.abspath(self.project_dir)) / "checkpoints"
        folder = base / f"checkpoint_{settings.iteration}"
        if folder.exists():
            raise ValueError(f"{folder} exists already: load_state() first, or set project_configuration.iteration")
        if settings.total_limit is not None:
            self._mce.limit(base, settings.total_limit)
        return folder

    def _newest(self) -> list[Path]:
        if not self.project_configuration.automatic_checkpoint_naming:
            return []
        base = Path(os.path.abspath(self.project_dir)) / "checkpoints"
        return [path for path in reversed(numbered(base)) if checkpoint_in(path)] if base.is_dir() else []
