"""New records beside a store that is not new."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from model_checkpoint.checkpoint import unrecorded
from model_checkpoint.checkpoint.unrecorded import warn_of_unrecorded
from model_checkpoint.kernel import Kernel


def opened(folder: Path) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", quiet=True)


def lose_records(folder: Path) -> None:
    for path in folder.glob("e.db*"):
        path.unlink()


def warned(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> tuple[int, list[str]]:
    """Return what is counted and said now, whatever was said when the kernel was opened."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "model_checkpoint"):
        count = warn_of_unrecorded(kernel.services, kernel.backends.stored())
    return count, [record.getMessage() for record in caplog.records]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder with three checkpoints in a vault, one in another store, and no records any more."""
    with opened(tmp_path) as kernel, kernel.run("series", run="r"):
        for step in range(3):
            kernel.save({"w": step}, step=step)
        kernel.save({"w": 3}, step=3, backend="safetensors")
    lose_records(tmp_path)
    return tmp_path


def test_new_records_beside_stored_checkpoints_are_told_with_what_to_do(
    stored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(stored) as kernel:
        count, (said,) = warned(kernel, caplog)
        assert count == 4
        assert f"the records in sqlite:///{stored}/e.db are new" in said
        assert "'safetensors' 1" in said
        assert "'vault' 3" in said
        assert "call kernel.rebuild() before anything is saved" in said


def test_after_a_rebuild_nothing_is_said(stored: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(stored) as kernel:
        assert len(kernel.rebuild().recorded) == 4
        assert warned(kernel, caplog) == (0, [])


def test_who_has_begun_a_run_without_the_lost_records_is_not_told_again(
    stored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(stored) as kernel:
        kernel.start_run("series", run="another")
        assert warned(kernel, caplog) == (0, [])


def test_no_store_is_made_to_look_into(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as kernel:
        assert warned(kernel, caplog) == (0, [])
        assert not (tmp_path / "checkpoints").exists()


def test_looking_into_a_store_changes_nothing_in_it(stored: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = sorted((stored / "checkpoints").rglob("*"))
    with opened(stored) as kernel:
        assert warned(kernel, caplog)[0] == 4
        assert sorted((stored / "checkpoints").rglob("*")) == before


def test_a_store_whose_last_checkpoint_was_deleted_is_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as kernel, kernel.run("series"):
        kernel.delete(kernel.save({"w": 1}, step=1))
    lose_records(tmp_path)
    with opened(tmp_path) as kernel:
        assert warned(kernel, caplog) == (0, [])


def test_counting_comes_to_an_end(
    stored: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unrecorded, "MOST_COUNTED", 2)
    with opened(stored) as kernel:
        count, (said,) = warned(kernel, caplog)
        assert count == 3
        assert "'vault' 2 or more" in said
        assert "'safetensors' 1)" in said or "'safetensors' 1," in said


def test_a_store_that_cannot_be_listed_is_told_and_holds_up_nobody(
    stored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifests = stored / "checkpoints" / "vault" / "manifests"
    manifests.rename(manifests.with_name("away"))
    manifests.symlink_to(manifests)  # leads to itself, even for root
    with opened(stored) as kernel:
        count, said = warned(kernel, caplog)
        assert count == 1
        assert any("whether 'vault' holds checkpoints that are not recorded cannot be told" in each for each in said)


def test_one_of_many_processes_speaks(
    stored: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with opened(stored) as kernel:
        assert warned(kernel, caplog) == (0, [])
