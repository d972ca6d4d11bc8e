"""A ``Trainer`` that saves into the engine instead of writing folders.

The trainer writes its folder before any callback runs, so a callback could only write everything a second time. This
takes the place of its ``_save_checkpoint``: what is saved is the same, and it is written once.
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from transformers import Trainer
from transformers.trainer_callback import ExportableState

from mce_transformers.folder import STATE, write_folder
from mce_transformers.store import TrainerStore
from model_checkpoint.errors import CheckpointNotFoundError, ConfigurationError
from model_checkpoint.kernel import Kernel

T = TypeVar("T", bound=Trainer)


def with_mce(
    trainer: T,
    *,
    database_url: str | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    experiment: str | None = None,
    run: str | None = None,
    wait: bool = False,
    save_base: bool = True,
    kernel: Kernel | None = None,
) -> T:
    """Let a trainer, of whatever class, save into the engine; return it, with `MceTrainerMixin.resume_path`.

    Args:
        database_url: record store; default ``experiments.db`` in the trainer's ``output_dir``.
        checkpoint_dir: the store; default ``checkpoints/`` beside the SQLite file.
        experiment, run: default, the name of ``output_dir``.
        wait: let every save block until it is durable.
        save_base: with PEFT, whether a checkpoint holds the frozen base model too. It is stored once however many there
            are, but read in every save; without, a checkpoint holds what is trained, and the base is yours to keep.
        kernel: use this open kernel instead of opening one.

    Raises ``ConfigurationError`` that lists what the trainer asks for and cannot be had here.
    """
    if not isinstance(trainer, MceTrainerMixin):
        kind = type(trainer)
        trainer.__class__ = type(f"Mce{kind.__name__}", (MceTrainerMixin, kind), {"__module__": kind.__module__})
    mixed = cast("MceTrainerMixin", trainer)
    mixed.use_mce(
        database_url=database_url,
        checkpoint_dir=checkpoint_dir,
        experiment=experiment,
        run=run,
        wait=wait,
        save_base=save_base,
        kernel=kernel,
    )
    return trainer


class MceTrainerMixin:
    """What `with_mce` adds. For a class of your own: ``class MyTrainer(MceTrainerMixin, Trainer)``."""

    args: Any
    model: Any
    state: Any
    control: Any
    optimizer: Any
    lr_scheduler: Any
    accelerator: Any
    callback_handler: Any
    _mce: TrainerStore | None = None
    _mce_wait = False
    _mce_save_base = True

    def use_mce(self, *, wait: bool = False, save_base: bool = True, **options: Any) -> None:
        """Say where to save, as `with_mce` does. Not needed where the defaults are right."""
        if problems := _refused(self):
            raise ConfigurationError("mce-transformers cannot save this training: " + "; ".join(problems))
        if self._mce is not None:
            self._mce.close()
        metric, greater = self.args.metric_for_best_model, self.args.greater_is_better
        name = metric if not metric or metric.startswith("eval_") else f"eval_{metric}"
        modes = {name: "max" if greater else "min"} if name and greater is not None else None
        self._mce = TrainerStore(self.args.output_dir, limit=self.args.save_total_limit, metric_modes=modes, **options)
        self._mce_wait, self._mce_save_base = wait, save_base

    @property
    def store(self) -> TrainerStore:
        """Where the checkpoints are; ``trainer.store.kernel`` lists, ranks, tags, pins and exports them."""
        if self._mce is None:
            self.use_mce()
        assert self._mce is not None
        return self._mce

    def resume_path(self) -> str | None:
        """Return a folder for ``train(resume_from_checkpoint=...)``, or None for a fresh start.

        It is the run's newest checkpoint that verifies; one that is damaged is passed over with a
        ``ResumeFallbackWarning``. Raises ``NothingToResumeError`` where there are some and none is whole.
        """
        kernel = self.store.kernel
        self.store.begin(adopt=True)
        report = kernel.resume({STATE: {}})
        if not report or report.load is None:
            return None
        return str(write_folder(self, report.load, self._folder("resume")))

    def checkpoint_path(self, which: str = "latest") -> Path:
        """Return a folder that ``from_pretrained`` and ``train`` read, written now, verified.

        `which` is an id, ``latest``, ``best:<metric>`` or ``tag:<tag>``. The folder is yours to remove.
        """
        report = self.store.kernel.load(which)
        return write_folder(self, report, self._folder(report.checkpoint_id))

    def train(self, resume_from_checkpoint: Any = None, *arguments: Any, **named: Any) -> Any:
        """Train as ever; ``resume_from_checkpoint=True`` is `resume_path`. Every save is durable when it returns."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = self.resume_path() or True
        try:
            result = super().train(resume_from_checkpoint, *arguments, **named)  # type: ignore[misc]
        except BaseException as error:
            self._settle_after(error)
            raise
        self.store.settle()
        shutil.rmtree(self._folder("resume"), ignore_errors=True)
        return result

    def _settle_after(self, error: BaseException) -> None:
        try:
            self.store.settle()
        except Exception as another:  # the training's own error is the one to raise
            error.add_note(f"A save that was under way failed too: {type(another).__name__}: {another}")

    def _folder(self, name: str) -> Path:
        return Path(self.store.kernel.config.storage.checkpoint_dir) / "exports" / "transformers" / name

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if trial is not None:
            raise ConfigurationError("a hyper-parameter search saves its trials in folders of its own: use a Trainer")
        self.store_flos()  # type: ignore[attr-defined]
        best = self.state.best_global_step
        if best and (best == self.state.global_step or self.store.at_step(best) is not None):
            self.state.best_model_checkpoint = os.path.join(self.args.output_dir, f"checkpoint-{best}")
        _note_callbacks(self)
        objects: dict[str, object] = {"model": self._saved_weights(), STATE: dataclasses.asdict(self.state)}
        if not self.args.save_only_model:
            objects |= {
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.lr_scheduler.state_dict(),
                "rng": _random_streams(),
            }
            scaler = getattr(self.accelerator, "scaler", None)
            if scaler is not None:
                objects["scaler"] = scaler.state_dict()
        self.store.save(
            objects,
            wait=self._mce_wait,
            best_step=best or None,
            step=self.state.global_step,
            epoch=int(self.state.epoch or 0),
            metrics=_logged(self.state),
        )

    def _saved_weights(self) -> dict[str, Any]:
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        weights: dict[str, Any] = model.state_dict()
        if self._mce_save_base or not hasattr(model, "peft_config"):
            return weights
        trained = {name for name, value in model.named_parameters(remove_duplicate=False) if value.requires_grad}
        return {name: value for name, value in weights.items() if name in trained}

    def _load_best_model(self) -> None:
        record = self.store.at_step(self.state.best_global_step)
        if record is None:
            raise CheckpointNotFoundError(
                f"load_best_model_at_end: the best step was {self.state.best_global_step}, and no whole checkpoint of"
                f" it is in run {self.store.kernel.current_run().name}"
            )
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        whole = self._mce_save_base or not hasattr(model, "peft_config")
        self.store.kernel.load(record.id, into={"model": model}, strict=True if whole else "ignore")


def _refused(trainer: Any) -> list[str]:
    """Return in words what the trainer asks for and this does not do."""
    arguments, problems = trainer.args, []
    if arguments.world_size > 1:
        problems.append(f"it has {arguments.world_size} processes, and only one is understood")
    if getattr(trainer, "is_deepspeed_enabled", False) or getattr(trainer, "is_fsdp_enabled", False):
        problems.append("DeepSpeed and FSDP write shards of their own")
    if arguments.push_to_hub:
        problems.append("push_to_hub=True uploads folders that are not written here: push after the training")
    if not arguments.should_save:
        problems.append("this process is not the one that saves")
    return problems


def _note_callbacks(trainer: Any) -> None:
    """Put the states of callbacks into the trainer's state, as the trainer does before it writes."""
    for callback in [*trainer.callback_handler.callbacks, trainer.control]:
        if not isinstance(callback, ExportableState):
            continue
        kept, name = trainer.state.stateful_callbacks, type(callback).__name__
        if isinstance(kept.get(name), list):
            kept[name].append(callback.state())
        else:
            kept[name] = callback.state()


def _random_streams() -> dict[str, Any]:
    """Return the random streams in the form in which the trainer reads them."""
    import numpy as np

    streams: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        streams["cuda"] = torch.cuda.random.get_rng_state()
    return streams


def _logged(state: Any) -> dict[str, float]:
    """Return what was logged at this step, the later value of a name last."""
    found: dict[str, float] = {}
    for entry in state.log_history:
        if entry.get("step") == state.global_step:
            found |= {name: value for name, value in entry.items() if isinstance(value, int | float)}
    return {name: value for name, value in found.items() if name not in ("step", "epoch")}
