"""Where a training goes on: which loader's word counts, and what is a gap and what another model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model_checkpoint.errors import (
    CheckpointError,
    ConfigurationError,
    NothingToResumeError,
    PartialRestoreError,
    StateDecodeError,
    StateMismatchError,
    StorageError,
    TornSnapshotError,
)
from model_checkpoint.frameworks.torch_data import ResumableLoader
from model_checkpoint.kernel import Kernel


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", strict=True, quiet=True) as opened:
        opened.start_run("s", run="r")
        yield opened


def a_loader(seed: int = 0) -> ResumableLoader:
    return ResumableLoader(torch.arange(12), batch_size=4, shuffle=True, seed=seed)


def test_a_validation_loop_that_was_left_early_does_not_repeat_an_epoch(kernel: Kernel) -> None:
    train, val = a_loader(), a_loader()
    list(train)
    next(iter(val))
    kernel.save({"loader": train, "val_loader": val}, epoch=0, step=3)

    assert kernel.resume({"loader": a_loader(), "val_loader": a_loader()}).next_epoch == 1


def test_a_loader_in_a_dict_is_heard(kernel: Kernel) -> None:
    train = a_loader()
    next(iter(train))
    kernel.save({"loaders": {"train": train}}, epoch=0, step=1)

    assert kernel.resume({"loaders": {"train": a_loader()}}).next_epoch == 0


@pytest.mark.parametrize("stored", [torch.zeros(2), nn.Linear(2, 1)], ids=["tensor", "module"])
def test_an_object_that_does_not_fit_is_an_error_and_no_reason_to_go_back(kernel: Kernel, stored: object) -> None:
    live = torch.zeros(3) if isinstance(stored, torch.Tensor) else nn.DataParallel(nn.Linear(2, 1))
    fitting = torch.zeros(3) if isinstance(stored, torch.Tensor) else nn.DataParallel(nn.Linear(2, 1))
    kernel.save({"thing": fitting}, step=1)
    kernel.save({"thing": stored}, step=2)

    with pytest.raises(StateMismatchError, match=r"restores all or nothing.*strict=False\)") as refused:
        kernel.resume({"thing": live})
    assert refused.value.absent == ()


def test_an_object_that_no_checkpoint_has_is_said_to_be_that_and_no_file_is_blamed(kernel: Kernel) -> None:
    for step in (1, 2):
        kernel.save({"model": {"w": step}}, step=step)

    with pytest.raises(NothingToResumeError) as refused:
        kernel.resume({"model": {}, "scheduler": {}})
    assert "2 are whole and lack an object that resume() was given" in str(refused.value)
    assert "has no 'scheduler'" in str(refused.value)
    assert "restore their files" not in str(refused.value)


def test_streams_that_cannot_be_put_back_are_told_before_anything_changes(kernel: Kernel) -> None:
    kernel.save({"w": np.ones(2)}, step=1)
    w, before = np.zeros(2), np.random.mtrand._rand._bit_generator
    np.random.set_bit_generator(np.random.PCG64(1))
    try:
        with pytest.raises(StateDecodeError, match="PCG64"):
            kernel.resume({"w": w})
    finally:
        np.random.set_bit_generator(before)
    assert w.tolist() == [0, 0]


def test_streams_that_fail_all_the_same_are_a_partial_restore(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.save({"w": np.ones(2)}, step=1)
    monkeypatch.setattr(torch, "set_rng_state", lambda state: (_ for _ in ()).throw(RuntimeError("no")))

    with pytest.raises(PartialRestoreError, match="the random streams"):
        kernel.resume({"w": np.zeros(2)})


def test_tied_weights_are_not_filled_from_two_that_differ(kernel: Kernel) -> None:
    def a_model(tied: bool) -> nn.Module:
        model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
        if tied:
            model["b"].weight = model["a"].weight
        return model

    kernel.save({"model": a_model(tied=False)}, step=1)
    live = a_model(tied=True)
    before = live["a"].weight.detach().clone()  # type: ignore[index]
    with pytest.raises(StateMismatchError, match=r"b\.weight: tied to a\.weight in the live model"):
        kernel.load("latest", into={"model": live})
    assert torch.equal(live["a"].weight, before)  # type: ignore[index]


def test_an_expanded_buffer_is_refused_before_anything_changes(kernel: Kernel) -> None:
    class Expanded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("b", torch.zeros(1).expand(4))

    kernel.save({"first": {"n": 1}, "model": Expanded()}, step=1)
    first = {"n": 0}
    with pytest.raises(StateMismatchError, match=r"model\.b: the live one is expanded"):
        kernel.load("latest", into={"first": first, "model": Expanded()})
    assert first == {"n": 0}


def test_a_default_device_does_not_touch_what_is_loaded(kernel: Kernel) -> None:
    image = torch.randn(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    kernel.save({"image": image, "loader": a_loader()}, step=1)
    with torch.device("meta"):
        report = kernel.load("latest")
        batches = list(a_loader())

    assert torch.equal(report["image"], image)  # type: ignore[arg-type]
    assert len(batches) == 3


@pytest.mark.parametrize("backend", ["vault", "safetensors", "pytorch"])
def test_memory_that_changes_while_it_is_written_gives_a_checkpoint_that_loads_or_none(
    kernel: Kernel, backend: str
) -> None:
    import threading

    weights, stop = np.zeros(2_000_000), threading.Event()

    def train() -> None:
        while not stop.is_set():
            np.add(weights, 1.0, out=weights)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        saved = []
        for step in range(5):
            with contextlib.suppress(TornSnapshotError):
                saved.append(kernel.save({"w": weights}, step=step, backend=backend))
    finally:
        stop.set()
        thread.join()

    assert all(kernel.verify(each).ok for each in saved)


def test_a_name_that_the_report_lacks_offers_what_it_has(kernel: Kernel) -> None:
    kernel.save({"model": {"w": 1}}, step=1)

    with pytest.raises(KeyError, match="no 'modle'; it has model"):
        kernel.load("latest")["modle"]
    assert issubclass(StateMismatchError, CheckpointError)


@pytest.mark.parametrize("thing", [5, "text", None, iter([1]), torch.utils.data.DataLoader(torch.arange(3))],
                         ids=["int", "str", "None", "iterator", "DataLoader"])  # fmt: skip
def test_what_could_never_be_restored_is_refused_at_a_fresh_start(kernel: Kernel, thing: object) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing can be restored into epochs=.*progress=\{'step': 0\}"):
        kernel.resume({"epochs": thing, "model": {}})


def test_a_store_that_is_away_for_a_moment_marks_nothing_as_damaged(kernel: Kernel, tmp_path: Path) -> None:
    for step in (1, 2):
        kernel.save({"w": step}, step=step)
    store = tmp_path / "checkpoints" / "vault"
    store.rename(tmp_path / "away")
    for which in ("latest", "latest"):
        with pytest.raises(StorageError, match="is the disk of its checkpoint_dir there"):
            kernel.load(which)
    for child in sorted(store.rglob("*"), reverse=True) if store.exists() else ():
        child.rmdir() if child.is_dir() else child.unlink()
    if store.exists():
        store.rmdir()
    (tmp_path / "away").rename(store)

    assert [record.damage for record in kernel.records.list_checkpoints()] == ["", ""]
    assert kernel.load("latest")["w"] == 2


def test_latest_tries_what_is_marked_when_nothing_else_is_left(kernel: Kernel) -> None:
    saved = kernel.save({"w": 1}, step=1)
    kernel.records.mark_damaged(saved, "it was, for a moment")

    assert kernel.load("latest")["w"] == 1
    assert kernel.checkpoint(saved).damage == ""
