"""Pointers for people: small files that hold the id of a checkpoint."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO

import pytest

from model_checkpoint.checkpoint.refs import FileRefs
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import StorageError, StorageFullError
from model_checkpoint.kernel import Kernel


def test_a_pointer_is_a_file_that_holds_the_id_and_moves(tmp_path: Path) -> None:
    refs = FileRefs(tmp_path, FsOps())
    refs.move("digits-7", "latest", "first")
    refs.move("digits-7", "latest", "second")
    assert (tmp_path / "digits-7" / "latest").read_text() == "second\n"
    assert [path.name for path in (tmp_path / "digits-7").iterdir()] == ["latest"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("best-val/acc", "best-val%2Facc"),
        ("best-../../etc/passwd", "best-..%2F..%2Fetc%2Fpasswd"),
        ("best-a\0b", "best-a%00b"),
        ("best-größe 温度", "best-gr%C3%B6%C3%9Fe%20%E6%B8%A9%E5%BA%A6"),
        ("best-a%2Fb", "best-a%252Fb"),
    ],
)
def test_a_metric_s_name_never_leaves_the_run_s_folder(tmp_path: Path, name: str, file: str) -> None:
    FileRefs(tmp_path, FsOps()).move("r", name, "id")
    assert [path.name for path in (tmp_path / "r").iterdir()] == [file]
    assert {path.name for path in tmp_path.iterdir()} == {"r"}


def test_what_a_killed_process_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    refs = FileRefs(tmp_path, FsOps())
    refs.move("r", "latest", "first")
    (tmp_path / "r" / f".latest.{os.getpid()}.tmp").write_text("half")
    refs.move("r", "latest", "second")
    assert (tmp_path / "r" / "latest").read_text() == "second\n"


def test_what_processes_left_that_were_killed_goes_with_the_next_one_s_first_move(tmp_path: Path) -> None:
    FileRefs(tmp_path, FsOps()).move("r", "latest", "first")
    for name in (".latest.123456789.tmp", ".best-loss.4.tmp"):
        (tmp_path / "r" / name).write_text("half")
    (tmp_path / "r" / "lock").touch()
    FileRefs(tmp_path, FsOps()).move("r", "latest", "second")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["latest", "lock"]


def test_a_full_disk_is_a_typed_error_and_the_old_pointer_stays(tmp_path: Path) -> None:
    class Full(FsOps):
        armed = False

        def create(self, path: Path) -> IO[bytes]:
            if self.armed:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().create(path)

    fs = Full()
    refs = FileRefs(tmp_path, fs)
    refs.move("r", "latest", "first")
    fs.armed = True
    with pytest.raises(StorageFullError, match="no space left while moving"):
        refs.move("r", "latest", "second")
    assert (tmp_path / "r" / "latest").read_text() == "first\n"


def test_a_name_that_is_too_long_for_a_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="moving"):
        FileRefs(tmp_path, FsOps()).move("r", "best-" + "x" * 300, "id")


def test_a_checkpoint_is_saved_although_its_pointers_cannot_be_moved(
    memory_kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    memory_kernel.save({"a": 1}, step=1)
    latest = memory_kernel.config.storage.checkpoint_dir / "runs" / memory_kernel.current_run().name / "latest"
    latest.unlink()
    latest.mkdir()
    saved = memory_kernel.save({"a": 2}, step=2)
    assert memory_kernel.load(saved)["a"] == 2
    assert f"checkpoint {saved} is saved, but its pointer 'latest' could not be moved" in caplog.text
