"""``save_state`` and ``load_state`` through the engine, and the same objects in a run of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration, set_seed
from accelerate_training import dataset, one_step, parts
from mce_accelerate import prepared, with_mce
from torch.utils.data import DataLoader

from model_checkpoint.checkpoint.resume import ResumeFallbackWarning
from model_checkpoint.errors import ConfigurationError, IntegrityError, StateMismatchError


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    accelerators: list[Any] = []
    yield accelerators
    for accelerator in accelerators:
        accelerator.kernel.close()


def make(opened: list[Any], folder: Path, **given: Any) -> Any:
    set_seed(3)
    accelerator = with_mce(Accelerator(cpu=True, **given), database_url=f"sqlite:///{folder}/x.db", experiment="fit")
    opened.append(accelerator)
    return accelerator


def named(folder: Path, limit: int | None = None) -> ProjectConfiguration:
    return ProjectConfiguration(str(folder), automatic_checkpoint_naming=True, total_limit=limit)


def train(accelerator: Any, ready: tuple[Any, ...], epochs: int = 1) -> list[float]:
    model, optimizer, scheduler, loader, _ = ready
    return [one_step(accelerator, model, optimizer, scheduler, batch) for _ in range(epochs) for batch in loader]


def nbytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def flip_a_byte_of(folder: Path, value: bytes) -> None:
    hits = 0
    for pack in (folder / "checkpoints" / "vault" / "packs").iterdir():
        data = pack.read_bytes()
        if value in data:
            at, hits = data.index(value), hits + 1
            pack.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert hits


def test_everything_comes_back_and_the_training_goes_on_alike(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path)
    ready = parts(accelerator)
    train(accelerator, ready)
    ready[-1].epochs = 1
    accelerator.save_state(tmp_path / "a")
    expected = train(accelerator, ready, epochs=2)
    report = accelerator.load_state(tmp_path / "a")
    assert report.verified == "fast"
    assert ready[-1].epochs == 1
    assert train(accelerator, ready, epochs=2) == expected


def test_a_folder_holds_a_pointer_and_the_store_each_byte_once(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path)
    ready = parts(accelerator, width=100_000)
    train(accelerator, ready)
    accelerator.save_state(tmp_path / "a")
    accelerator.settle()
    payload = 3 * sum(value.nbytes for value in ready[0].parameters())
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mce.json"]
    assert payload <= nbytes_under(tmp_path / "checkpoints") <= 1.05 * payload


def test_saving_into_a_folder_again_replaces_what_it_led_to(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path)
    ready = parts(accelerator)
    for _ in range(3):
        train(accelerator, ready)
        accelerator.save_state(tmp_path / "a")
    accelerator.settle()
    assert len(accelerator.kernel.checkpoints()) == 1


def test_automatic_naming_and_its_limit_are_kept_to(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path, project_config=named(tmp_path / "p", limit=2))
    ready = parts(accelerator)
    for _ in range(4):
        train(accelerator, ready)
        accelerator.save_state()
    accelerator.settle()
    assert sorted(path.name for path in (tmp_path / "p" / "checkpoints").iterdir()) == ["checkpoint_2", "checkpoint_3"]
    assert len(accelerator.kernel.checkpoints()) == 2


def test_loading_the_newest_lets_the_next_save_take_the_next_number(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path, project_config=named(tmp_path / "p"))
    parts(accelerator)
    accelerator.save_state()
    opened.pop().kernel.close()
    again = make(opened, tmp_path, project_config=named(tmp_path / "p"))
    parts(again)
    again.load_state()
    assert Path(again.save_state()).name == "checkpoint_1"
    assert {record.run_name for record in again.kernel.checkpoints()} == {"fit-1"}


def test_a_flipped_byte_falls_back_aloud_only_where_no_folder_was_named(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path, project_config=named(tmp_path / "p"))
    ready = parts(accelerator)
    for _ in range(2):
        train(accelerator, ready)
        accelerator.save_state()
    accelerator.settle()
    flip_a_byte_of(tmp_path, ready[0][0].weight.detach().numpy().tobytes())
    with pytest.raises(IntegrityError):
        accelerator.load_state(tmp_path / "p" / "checkpoints" / "checkpoint_1")
    with pytest.warns(ResumeFallbackWarning, match="checkpoint_1"):
        accelerator.load_state()


def test_another_model_is_refused_before_anything_changes(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path)
    parts(accelerator)
    accelerator.save_state(tmp_path / "a")
    opened.pop().kernel.close()
    other = make(opened, tmp_path)
    model, *_ = parts(other, width=9)
    before = model[0].weight.detach().clone()
    with pytest.raises(StateMismatchError, match=r"model\.0\.weight"):
        other.load_state(tmp_path / "a")
    assert torch.equal(before, model[0].weight)


def test_a_model_that_a_hook_takes_is_left_to_the_hook(opened: list[Any], tmp_path: Path) -> None:
    accelerator, seen = make(opened, tmp_path), []
    parts(accelerator)

    def saves(models: list[Any], weights: list[Any], folder: str) -> None:
        torch.save(weights.pop(), Path(folder) / "mine.pt")

    def loads(models: list[Any], folder: str) -> None:
        seen.append(models.pop())

    accelerator.register_save_state_pre_hook(saves)
    accelerator.register_load_state_pre_hook(loads)
    accelerator.save_state(tmp_path / "a")
    accelerator.load_state(tmp_path / "a")
    assert "model" not in accelerator.kernel.load("latest")
    assert (tmp_path / "a" / "mine.pt").exists()
    assert len(seen) == 1


def test_a_folder_of_accelerates_own_is_read_as_it_does(opened: list[Any], tmp_path: Path) -> None:
    set_seed(3)
    plain = Accelerator(cpu=True)
    model, *_ = parts(plain)
    plain.save_state(str(tmp_path / "theirs"))
    accelerator = make(opened, tmp_path)
    live, *_ = parts(accelerator)
    torch.nn.init.zeros_(live[0].weight)
    assert accelerator.load_state(str(tmp_path / "theirs")) is None
    assert torch.equal(live[0].weight, model[0].weight)


@pytest.mark.parametrize("kind", ["global", "own generator", "seedable"])
def test_the_order_of_later_epochs_comes_back(opened: list[Any], tmp_path: Path, kind: str) -> None:
    accelerator = make(
        opened, tmp_path, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=kind == "seedable")
    )
    own = torch.Generator().manual_seed(5) if kind == "own generator" else None
    loader = accelerator.prepare(DataLoader(dataset(), batch_size=4, shuffle=True, generator=own))
    list(loader)
    accelerator.save_state(tmp_path / "a")
    expected = [batch[0] for _ in range(2) for batch in loader]
    accelerator.load_state(tmp_path / "a")
    again = [batch[0] for _ in range(2) for batch in loader]
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))


def test_within_an_epoch_a_seedable_sampler_finds_the_same_order(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True))
    loader = accelerator.prepare(DataLoader(dataset(), batch_size=4, shuffle=True))
    list(loader)
    rest = []
    for index, batch in enumerate(loader):
        if index == 2:
            accelerator.save_state(tmp_path / "a")
        if index > 2:
            rest.append(batch[0])
    list(loader)
    accelerator.load_state(tmp_path / "a")
    again = [batch[0] for batch in accelerator.skip_first_batches(loader, 3)]
    assert len(again) == 3
    assert all(torch.equal(a, b) for a, b in zip(rest, again, strict=True))


def test_metrics_and_steps_are_recorded(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path)
    parts(accelerator)
    accelerator.save_state(tmp_path / "a", step=7, epoch=1, metrics={"val_loss": 0.25})
    record = accelerator.kernel.checkpoint("best:val_loss")
    assert (record.step, record.epoch, record.metrics["val_loss"]) == (7, 1, 0.25)


def test_the_names_of_what_was_prepared(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path)
    parts(accelerator)
    assert list(prepared(accelerator)) == ["model", "optimizer", "scheduler", "loader", "object", "accelerator"]


def test_what_cannot_be_honoured_is_refused(opened: list[Any], tmp_path: Path) -> None:
    accelerator = make(opened, tmp_path)
    with pytest.raises(ConfigurationError, match="exclude_frozen"):
        accelerator.save_state(tmp_path / "a", exclude_frozen=True)
    with pytest.raises(ConfigurationError, match="automatic_checkpoint_naming"):
        accelerator.save_state()
