"""The promises about integrity, each tried on the files of a real training state.

One wrong bit anywhere in a stored checkpoint is refused, by name, and told to hooks; what is damaged is passed over
aloud and never destroyed; what is whole is never refused.
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
from model_checkpoint.checkpoint.resume import ResumeFallbackWarning
from model_checkpoint.errors import IntegrityError, MissingFileError, NothingToResumeError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

BACKENDS = ("vault", "pytorch", "safetensors")


class Training:
    """A small model with momentum, saved three times."""

    def __init__(self, root: Path, backend: str) -> None:
        self.root = root
        self.backend = backend
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.failures: list[object] = []
        self.known_files: dict[str, list[Path]] = {}
        self.manager = self.open()
        self.ids = [self.step_and_save(epoch) for epoch in range(3)]

    def open(self) -> EnhancedCheckpointManager:
        manager = EnhancedCheckpointManager(
            f"sqlite:///{self.root}/experiments.db", storage_backend=self.backend, experiment="t", quiet=True
        )
        manager.register_hook("see", lambda context: self.failures.append(context), [HookEvent.ON_INTEGRITY_FAILURE])
        return manager

    def step_and_save(self, epoch: int) -> str:
        self.optimizer.zero_grad()
        self.model(torch.randn(8, 3)).square().mean().backward()
        self.optimizer.step()
        saved = self.manager.save_checkpoint(
            model=self.model, optimizer=self.optimizer, epoch=epoch, val_loss=3.0 - epoch
        )
        assert saved is not None
        return saved

    def files(self, checkpoint_id: str) -> list[Path]:
        if checkpoint_id in self.known_files:  # a manifest that was damaged tells no more
            return self.known_files[checkpoint_id]
        store = self.root / "checkpoints" / self.backend
        found = [path for path in store.rglob(f"{checkpoint_id}*") if path.is_file()]
        if self.backend == "vault":
            content = json.loads(found[0].read_bytes().partition(b"\n")[0])
            newest = max(content["packs"])  # the others are older ones' too
            found = [store / "packs" / newest, *found]
        assert len(found) == 2, "a data file and a manifest"
        self.known_files[checkpoint_id] = found
        return found

    def crash(self) -> None:
        """Leave the run as a killed process would: unfinished, its lock free."""
        kernel = self.manager.kernel
        kernel.active_run._lock.release()  # type: ignore[union-attr]
        kernel._session = None
        self.manager.close()


@pytest.fixture(params=BACKENDS)
def training(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Training]:
    made = Training(tmp_path, request.param)
    yield made
    made.manager.close()


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_whole_checkpoint_verifies_and_loads(training: Training) -> None:
    assert all(training.manager.verify_checkpoint(i).ok for i in training.ids)
    assert training.manager.load_checkpoint(training.ids[0]).verified in ("fast", "full")
    assert training.manager.load_checkpoint(training.ids[0], verify="full").verified == "full"
    assert training.failures == []


def test_one_flipped_bit_in_any_stored_file_is_refused_by_name(training: Training) -> None:
    seeded = random.Random(0)
    for path in training.files(training.ids[1]):
        whole = path.read_bytes()
        for bit in seeded.sample(range(len(whole) * 8), 40):
            flip(path, bit)
            with pytest.raises(IntegrityError) as refused:
                training.manager.load_checkpoint(training.ids[1])
            assert path.name in str(refused.value)
            assert not training.manager.verify_checkpoint(training.ids[1]).ok
            # the vault keeps a damaged pack aside and takes from it what is sound in it: here each flip stands alone
            shutil.rmtree(training.root / "checkpoints" / "vault" / "quarantine", ignore_errors=True)
            path.write_bytes(whole)
    assert training.manager.verify_checkpoint(training.ids[1]).ok


def test_a_refused_load_changes_no_live_byte(training: Training) -> None:
    before = {key: value.clone() for key, value in training.model.state_dict().items()}
    for path in training.files(training.ids[0]):
        whole = path.read_bytes()
        flip(path, len(whole) * 4)
        with pytest.raises(IntegrityError):
            training.manager.load_checkpoint(training.ids[0], model=training.model, optimizer=training.optimizer)
        path.write_bytes(whole)
    assert all(torch.equal(before[key], value) for key, value in training.model.state_dict().items())


def test_a_refused_load_fires_the_integrity_event_with_the_evidence(training: Training) -> None:
    data = next(path for path in training.files(training.ids[2]) if path.suffix != ".json")
    flip(data, data.stat().st_size * 4)
    with pytest.raises(IntegrityError):
        training.manager.load_checkpoint(training.ids[2])
    (seen,) = training.failures
    assert seen.checkpoint_id == training.ids[2]  # type: ignore[attr-defined]
    assert data.name in str(seen.file_path)  # type: ignore[attr-defined]
    assert len(seen.expected) == len(seen.actual) in (16, 32, 64)  # type: ignore[attr-defined]
    assert seen.expected != seen.actual  # type: ignore[attr-defined]


def test_a_truncated_file_is_refused(training: Training) -> None:
    for path in training.files(training.ids[0]):
        whole = path.read_bytes()
        path.chmod(0o644)
        for length in (0, 1, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(IntegrityError, match=r"manifests|data|packs"):
                training.manager.load_checkpoint(training.ids[0])
        path.write_bytes(whole + b"\0")
        with pytest.raises(IntegrityError):
            training.manager.load_checkpoint(training.ids[0])
        path.write_bytes(whole)


def test_a_missing_file_is_named(training: Training) -> None:
    data = next(path for path in training.files(training.ids[0]) if path.suffix != ".json")
    data.unlink()
    with pytest.raises(MissingFileError, match=data.name):
        training.manager.load_checkpoint(training.ids[0])


def test_the_content_of_another_checkpoint_under_this_name_is_refused(training: Training) -> None:
    for one, other in zip(
        sorted(training.files(training.ids[0])), sorted(training.files(training.ids[1])), strict=True
    ):
        one.chmod(0o644)
        one.write_bytes(other.read_bytes())
    with pytest.raises(IntegrityError):
        training.manager.load_checkpoint(training.ids[0])


def test_latest_falls_back_to_the_newest_older_checkpoint_that_verifies(training: Training) -> None:
    flip(training.files(training.ids[2])[0], 4000)
    report = training.manager.load_checkpoint("latest", model=training.model)
    assert report.checkpoint_id == training.ids[1]
    assert report.fell_back_from == (training.ids[2],)


def test_a_damaged_checkpoint_is_nobodys_best_until_it_verifies_again(training: Training) -> None:
    path = training.files(training.ids[2])[0]
    whole = path.read_bytes()
    flip(path, 4000)
    assert not training.manager.verify_checkpoint(training.ids[2]).ok
    best = training.manager.get_best_checkpoint()
    assert best is not None
    assert best.id == training.ids[1]
    path.write_bytes(whole)
    assert training.manager.verify_checkpoint(training.ids[2]).ok
    best = training.manager.get_best_checkpoint()
    assert best is not None
    assert best.id == training.ids[2]


def test_resume_falls_back_aloud(training: Training) -> None:
    training.crash()
    for index in (1, 2):
        flip(training.files(training.ids[index])[0], 4000)
    training.manager = training.open()
    with pytest.warns(ResumeFallbackWarning, match=training.ids[2]):
        report = training.manager.resume(model=training.model, optimizer=training.optimizer)
    assert report.checkpoint_id == training.ids[0]
    assert [skipped for skipped, _ in report.skipped] == [training.ids[2], training.ids[1]]
    assert len(training.failures) == 2


def test_resume_never_starts_over_silently_when_every_checkpoint_is_damaged(training: Training) -> None:
    training.crash()
    for checkpoint_id in training.ids:
        flip(training.files(checkpoint_id)[0], 4000)
    training.manager = training.open()
    with pytest.raises(NothingToResumeError, match=training.ids[0]):
        training.manager.resume(model=training.model)
    assert all(path.exists() for i in training.ids for path in training.files(i)), "nothing damaged is destroyed"


def test_a_hook_may_name_the_checkpoint_to_fall_back_to(training: Training) -> None:
    def choose(context: object) -> dict[str, object]:
        return {"fallback_id": training.ids[0]}

    training.manager.register_hook("choose", choose, [HookEvent.ON_CHECKPOINT_LOAD_ERROR])
    flip(training.files(training.ids[2])[0], 4000)
    report = training.manager.load_checkpoint(training.ids[2])
    assert (report.checkpoint_id, report.fell_back_from) == (training.ids[0], (training.ids[2],))


def test_a_verification_fires_its_events_in_order(training: Training) -> None:
    seen: list[str] = []
    events = [HookEvent.BEFORE_INTEGRITY_CHECK, HookEvent.AFTER_INTEGRITY_CHECK, HookEvent.ON_INTEGRITY_FAILURE]
    training.manager.register_hook("order", lambda context: seen.append(context.event), events)
    training.manager.verify_checkpoint(training.ids[0])
    flip(training.files(training.ids[0])[0], 800)
    training.manager.verify_checkpoint(training.ids[0])
    assert seen == [*events[:2], *events]


def test_every_load_of_an_undamaged_store_is_silent(tmp_path: Path) -> None:
    with warnings.catch_warnings(), Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True) as kernel:
        warnings.simplefilter("error")
        kernel.save({"state": {"a": [1, 2]}}, step=1)
        assert kernel.load("latest")["state"] == {"a": [1, 2]}
