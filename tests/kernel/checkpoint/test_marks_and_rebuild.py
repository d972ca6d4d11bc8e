"""Pins, tags, notes and aliases, and records that are lost and written anew from storage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_checkpoint.contracts import CheckpointRecord
from model_checkpoint.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    InvalidNameError,
    OperationVetoed,
    ProtectedCheckpointError,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel


def opened(folder: Path) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", quiet=True, strict=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        yield kernel


def test_a_mark_holds_until_it_is_taken_back(kernel: Kernel) -> None:
    saved = kernel.save({"w": 1}, step=1, tags={"stage": "dev", "old": ""})
    kernel.pin(saved)
    kernel.tag(saved, {"stage": "prod", "old": None})
    kernel.tag(saved, ["label"])
    kernel.note(saved, "first\nsecond")
    kernel.note(saved, "the note \U0001f99c")
    kernel.alias("champion", saved)
    record = kernel.checkpoint(saved)
    assert (record.pinned, record.note, record.aliases) == (True, "the note \U0001f99c", ("champion",))
    assert record.tags == {"stage": "prod", "label": ""}
    kernel.unpin(saved)
    kernel.note(saved, "")
    kernel.alias("champion", None)
    record = kernel.checkpoint(saved)
    assert (record.pinned, record.note, record.aliases) == (False, "", ())


def test_an_alias_leads_to_one_checkpoint_and_moves(kernel: Kernel) -> None:
    first, second = (kernel.save({"w": step}, step=step) for step in (1, 2))
    kernel.alias("prod", first)
    assert kernel.load("prod")["w"] == 1
    kernel.alias("prod", second)
    assert kernel.load("prod")["w"] == 2
    assert kernel.checkpoint(first).aliases == ()
    kernel.hooks.register_hook("gate", lambda context: False, [HookEvent.ON_ALIAS_CHANGE])
    with pytest.raises(OperationVetoed):
        kernel.alias("prod", first)
    assert kernel.load("prod")["w"] == 2


def test_an_alias_is_no_id(kernel: Kernel) -> None:
    first, second = (kernel.save({"w": step}, step=step) for step in (1, 2))
    with pytest.raises(ConfigurationError, match="it is the id of a checkpoint"):
        kernel.alias(first, second)


@pytest.mark.parametrize("name", ["latest", "best:x", "tag:y", "../x", "a/b", "", "x" * 10_000])
def test_what_cannot_be_an_alias_is_refused(kernel: Kernel, name: str) -> None:
    saved = kernel.save({"w": 1}, step=1)
    with pytest.raises((ConfigurationError, InvalidNameError)):
        kernel.alias(name, saved)
    assert kernel.checkpoint(saved).aliases == ()


def test_what_is_pinned_or_has_an_alias_is_not_deleted(kernel: Kernel) -> None:
    saved = kernel.save({"w": 1}, step=1)
    kernel.pin(saved)
    kernel.alias("prod", saved)
    with pytest.raises(ProtectedCheckpointError, match="it is pinned"):
        kernel.delete(saved)
    kernel.unpin(saved)
    with pytest.raises(ProtectedCheckpointError, match=r"the alias 'prod' leads to it \(alias\('prod', None\)\)"):
        kernel.delete(saved)
    kernel.alias("prod", None)
    assert kernel.delete(saved) > 0


def test_a_note_that_is_no_text_or_a_book_is_refused(kernel: Kernel) -> None:
    saved = kernel.save({"w": 1}, step=1)
    for text in (5, "x" * 200_000):
        with pytest.raises(ConfigurationError, match="a note"):
            kernel.note(saved, text)  # type: ignore[arg-type]


def comparable(record: CheckpointRecord) -> CheckpointRecord:
    """Return a record without what only the record store knew: the cost of the save and the experiment's own id."""
    return replace(record, nbytes_written=0, duration_s=0.0, experiment_id="", created_at_s=0.0)


def test_a_lost_database_is_written_anew_with_everything_that_was_said(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        for run in ("a", "b"):
            with kernel.run("series", run=run, tags={"x": "y"}):
                for step in range(4):
                    kernel.save(
                        {"w": np.full(100, step)},
                        step=step,
                        epoch=step // 2,
                        metrics={"val_loss": 1.0 / (step + 1), "odd": math.inf, "accuracy": step},
                        tags={"stage": "dev"},
                        metadata={"why": [1, None]},
                    )
                ids = [record.id for record in kernel.checkpoints()]
                kernel.pin(ids[0])
                kernel.note(ids[1], "look here")
                kernel.tag(ids[1], {"stage": None, "kept": "1"})
                kernel.alias(f"prod-{run}", ids[2])
                kernel.delete(ids[3])
        before = {record.id: comparable(record) for record in kernel_records(kernel)}
        flags = {run: kernel.records.best_flags(kernel.records.get_run(run).id) for run in ("a", "b")}  # type: ignore[union-attr]
    for path in tmp_path.glob("e.db*"):
        path.unlink()

    with opened(tmp_path) as kernel:
        report = kernel.rebuild()
        assert set(report.recorded) == set(before)
        assert (report.known, report.unreadable) == (0, {})
        assert {record.id: comparable(record) for record in kernel_records(kernel)} == before
        for run in ("a", "b"):
            found = kernel.records.get_run(run)
            assert found is not None
            assert kernel.records.best_flags(found.id) == flags[run]
        assert kernel.load("prod-a").step == 1
        assert kernel.awaits_confirmation
        assert kernel.rebuild().known == len(before)
    with opened(tmp_path) as kernel:
        assert kernel.awaits_confirmation
        kernel.confirm_rebuild()
        assert not kernel.awaits_confirmation
        with kernel.run("series", run="c"):
            kernel.save({"w": 1}, step=1)


def kernel_records(kernel: Kernel) -> list[CheckpointRecord]:
    return kernel.records.list_checkpoints()


def test_a_run_whose_name_was_given_away_comes_back_under_another(tmp_path: Path) -> None:
    for value in (1, 2):
        with opened(tmp_path) as kernel:
            kernel.start_run("s", run="r")
            kernel.save({"w": value}, step=value)
        if value == 1:
            for path in tmp_path.glob("e.db*"):
                path.unlink()
    with opened(tmp_path) as kernel:
        assert len(kernel.rebuild().recorded) == 1
        assert {run.name for run in kernel.records.list_runs()} == {"r", "r-rebuilt"}
        assert sorted(kernel.load(record.id)["w"] for record in kernel.records.list_checkpoints()) == [1, 2]


def test_a_rebuilt_run_is_resumed(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        kernel.save({"state": {"n": 1}}, step=1)
    for path in tmp_path.glob("e.db*"):
        path.unlink()
    with opened(tmp_path) as kernel:
        kernel.rebuild()
        kernel.start_run("s", run="r", adopt=True)
        state: dict[str, int] = {}
        assert kernel.resume({"state": state}).step == 1
        assert state == {"n": 1}
        saved = kernel.save({"state": {"n": 2}}, step=2)
        assert kernel.checkpoint(saved).sequence == 2


def test_a_deletion_is_taken_back_in_its_place_until_something_is_cleaned_up(kernel: Kernel, tmp_path: Path) -> None:
    ids = [kernel.save({"w": np.full(5000, step)}, step=step, val_loss=1.0 / (step + 1)) for step in range(3)]
    kernel.note(ids[1], "keep me")
    before = comparable(kernel.checkpoint(ids[1]))
    kernel.delete(ids[1])
    kernel.undelete(ids[1])
    assert comparable(kernel.checkpoint(ids[1])) == before
    assert [record.id for record in kernel.checkpoints()] == ids[::-1]
    assert kernel.load(ids[1])["w"][0] == 1
    assert kernel.checkpoint(kernel.save({"w": 1}, step=3)).sequence == 4
    kernel.delete(ids[1])
    assert kernel.collect().nbytes_freed > 40_000
    with pytest.raises(CheckpointNotFoundError, match="cannot be brought back"):
        kernel.undelete(ids[1])


def test_closing_frees_what_was_deleted(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        kernel.delete(kernel.save({"w": np.zeros(100_000)}, step=1))
        assert kernel.store_info()[0].nbytes_on_disk > 800_000
    with opened(tmp_path) as kernel:
        assert kernel.store_info()[0].nbytes_on_disk < 200_000


def test_what_cannot_be_read_is_reported_and_left(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        good, bad = (kernel.save({"w": step}, step=step) for step in (1, 2))
    manifest = tmp_path / "checkpoints" / "vault" / "manifests" / f"{bad}.json"
    manifest.write_bytes(manifest.read_bytes()[:-5])
    for path in tmp_path.glob("e.db*"):
        path.unlink()
    with opened(tmp_path) as kernel:
        report = kernel.rebuild()
        assert report.recorded == (good,)
        assert list(report.unreadable) == [bad]
        with pytest.raises(CheckpointNotFoundError):
            kernel.checkpoint(bad)
    assert manifest.exists()


def test_damage_is_remembered_in_storage_too(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.start_run("s", run="r")
        saved = kernel.save({"w": np.arange(1000)}, step=1)
        (pack,) = (tmp_path / "checkpoints" / "vault" / "packs").iterdir()
        data = bytearray(pack.read_bytes())
        data[-1] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
        assert not kernel.verify(saved).ok
    for path in tmp_path.glob("e.db*"):
        path.unlink()
    with opened(tmp_path) as kernel:
        kernel.rebuild()
        assert "is damaged" in kernel.checkpoint(saved).damage
