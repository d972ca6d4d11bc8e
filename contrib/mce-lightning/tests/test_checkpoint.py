"""`MceCheckpoint` does what ``ModelCheckpoint`` does, and its checkpoints are in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from lightning_training import Net, checkpoint, loaders, trainer
from mce_lightning import MceCheckpoint, MceCheckpointIO

from model_checkpoint.checkpoint.resume import ResumeFallbackWarning
from model_checkpoint.errors import ConfigurationError, IntegrityError, UnstorableStateError

ARGUMENTS = [
    {},
    {"monitor": "val_loss", "save_top_k": 2, "filename": "{epoch}-{val_loss:.3f}"},
    {"monitor": "val_loss", "mode": "max", "save_top_k": -1, "save_last": True},
    {"every_n_train_steps": 5, "save_top_k": -1},
    {"every_n_epochs": 2, "save_top_k": -1, "filename": "e{epoch:02d}", "auto_insert_metric_name": False},
    {"save_weights_only": True},
    {"save_last": "link"},
    {"save_top_k": 0, "save_last": True},
]


def fit(folder: Path, callback: ModelCheckpoint, *more: Callback, **given: object) -> Net:
    seed_everything(1, verbose=False)
    model = Net()
    trainer(folder, callback, *more, **given).fit(model, *loaders())
    return model


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "ckpts").iterdir() if not path.name.startswith(".")}


def flip_a_byte(folder: Path, value: bytes) -> None:
    for pack in (folder / "checkpoints" / "vault" / "packs").iterdir():
        data = pack.read_bytes()
        if value in data:
            at = data.index(value)
            pack.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda each: ",".join(each) or "defaults")
def test_the_same_arguments_leave_the_same_names(tmp_path: Path, arguments: dict[str, object]) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    other = ModelCheckpoint(theirs / "ckpts", **arguments)
    fit(theirs, other)
    callback = MceCheckpoint(ours / "ckpts", database_url=f"sqlite:///{ours}/x.db", **arguments)
    fit(ours, callback)
    assert names(ours) == names(theirs)
    assert Path(callback.best_model_path).name == Path(other.best_model_path).name
    assert Path(callback.last_model_path).name == Path(other.last_model_path).name
    kept = {path for path in names(ours) if not (ours / "ckpts" / path).is_symlink()}
    assert len(callback.io.kernel.checkpoints()) == len(kept)
    callback.io.close()


def test_best_model_path_is_a_file_for_load_from_checkpoint(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path, monitor="val_loss", save_top_k=-1)
    model = fit(tmp_path, callback)
    restored = Net.load_from_checkpoint(callback.last_model_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), restored.parameters(), strict=True))
    best = torch.load(callback.best_model_path, weights_only=True)
    assert {"state_dict", "optimizer_states", "hyper_parameters", "epoch"} <= set(best)
    assert callback.io.load_checkpoint(callback.best_model_path)["global_step"] == best["global_step"]
    callback.io.close()


def test_reading_a_path_during_the_fit_costs_no_file(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path)
    fit(tmp_path, callback)
    assert all(path.stat().st_size < 1000 for path in (tmp_path / "ckpts").iterdir())
    callback.io.close()


@pytest.mark.parametrize("word", ["best", "last"])
def test_trainer_takes_best_and_last(tmp_path: Path, word: str) -> None:
    callback = checkpoint(tmp_path, monitor="val_loss")
    seed_everything(1, verbose=False)
    fitted = trainer(tmp_path, callback)
    model = Net()
    fitted.fit(model, *loaders())
    again = fitted.validate(model, loaders()[1], ckpt_path=word, verbose=False)
    record = callback.io.kernel.checkpoint("best:val_loss" if word == "best" else "latest")
    assert again[0]["val_loss"] == pytest.approx(record.metrics["val_loss"], rel=1e-6)
    callback.io.close()


def test_metrics_are_recorded_and_ranked(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path, monitor="train_loss", mode="max", save_top_k=-1)
    fit(tmp_path, callback)
    kernel = callback.io.kernel
    assert {"train_loss", "val_loss"} <= set(kernel.checkpoint("latest").metrics)
    best = kernel.best("train_loss")
    assert best is not None
    assert best.metrics["train_loss"] == pytest.approx(float(callback.best_model_score or 0))
    callback.io.close()


def test_a_damaged_last_falls_back_aloud_and_any_other_name_does_not(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path, save_top_k=-1)
    model = fit(tmp_path, callback)
    last = Path(callback.dirpath or "") / "last.ckpt"
    newest = next(path for path in last.parent.iterdir() if "step=18" in path.name)
    flip_a_byte(tmp_path, model.layers[0].weight.detach().numpy().tobytes())
    with pytest.warns(ResumeFallbackWarning, match="passed over"):
        assert callback.io.load_checkpoint(last)["global_step"] == 12
    with pytest.raises(IntegrityError):
        callback.io.load_checkpoint(newest)
    callback.io.close()


def test_a_resumed_fit_goes_on_with_its_run(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path)
    fit(tmp_path, callback)
    callback.io.close()
    again = checkpoint(tmp_path)
    resumed = trainer(tmp_path, again, epochs=4)
    resumed.fit(Net(), *loaders(), ckpt_path="last")
    assert resumed.global_step == 24
    assert again.io.kernel.checkpoint("latest").run_name == "fit-1"
    again.io.close()


def test_a_pinned_checkpoint_outlives_save_top_k(tmp_path: Path) -> None:
    class Pins(Callback):
        def on_train_epoch_start(self, trainer: object, pl_module: object) -> None:
            if trainer.current_epoch == 1:  # type: ignore[attr-defined]
                callback.io.kernel.pin("latest")

    callback = checkpoint(tmp_path, save_last=None)
    fit(tmp_path, callback, Pins())
    assert sorted(record.step or 0 for record in callback.io.kernel.checkpoints()) == [6, 18]
    callback.io.close()


def test_save_on_exception_is_durable_when_the_exception_arrives(tmp_path: Path) -> None:
    class Breaks(Callback):
        def on_train_batch_start(self, trainer: object, *_: object) -> None:
            if trainer.global_step == 8:  # type: ignore[attr-defined]
                raise ArithmeticError("on purpose")

    callback = checkpoint(tmp_path, save_on_exception=True, save_last=None)
    with pytest.raises(ArithmeticError, match="on purpose"):
        fit(tmp_path, callback, Breaks())
    assert callback.io.kernel.pending_saves == ()
    assert callback.io.kernel.checkpoint("latest").step == 8
    callback.io.close()


def test_a_checkpoint_of_lightning_itself_is_taken_up(tmp_path: Path) -> None:
    other = ModelCheckpoint(tmp_path / "ckpts", monitor="val_loss", save_top_k=3)
    fit(tmp_path, other)
    callback = checkpoint(tmp_path, monitor="val_loss", save_top_k=3, save_last=None)
    resumed = trainer(tmp_path, callback, epochs=4)
    resumed.fit(Net(), *loaders(), ckpt_path=other.best_model_path, weights_only=False)
    assert resumed.global_step == 24
    assert set(callback.best_k_models) != set(other.best_k_models)
    assert callback.best_k_models.keys() & other.best_k_models.keys()
    assert Net.load_from_checkpoint(callback.best_model_path)
    callback.io.close()


def test_the_checkpoint_io_serves_modelcheckpoint_too(tmp_path: Path) -> None:
    io = MceCheckpointIO(f"sqlite:///{tmp_path}/x.db", experiment="fit")
    callback = ModelCheckpoint(tmp_path / "ckpts", monitor="val_loss", save_last=True)
    seed_everything(1, verbose=False)
    fitted = trainer(tmp_path, callback, plugins=[io])
    fitted.fit(Net(), *loaders())
    assert io.kernel.checkpoint("latest").metrics.keys() == {"val_loss"}
    resumed = trainer(tmp_path, callback, epochs=4, plugins=[io])
    resumed.fit(Net(), *loaders(), ckpt_path="last")
    assert resumed.global_step == 24
    io.close()


def test_what_cannot_be_stored_is_named_by_its_path(tmp_path: Path) -> None:
    class Odd(Callback):
        def state_dict(self) -> dict[str, object]:
            return {"inside": object()}

    callback = checkpoint(tmp_path)
    with pytest.raises(UnstorableStateError, match="inside"):
        fit(tmp_path, callback, Odd())
    callback.io.close()


def test_a_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="local dirpath"):
        MceCheckpoint("s3://bucket/x")


def test_another_checkpoint_io_is_refused(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path)
    with pytest.raises(ConfigurationError, match="do not block here either"):
        fit(tmp_path, callback, plugins=[AsyncCheckpointIO()])


def test_the_space_of_deleted_checkpoints_is_given_back(tmp_path: Path) -> None:
    callback = checkpoint(tmp_path, save_last=None, every_n_train_steps=1)
    fit(tmp_path, callback, epochs=6)
    callback.io.close()
    packs = list((tmp_path / "checkpoints" / "vault" / "packs").iterdir())
    assert len(packs) <= 4
