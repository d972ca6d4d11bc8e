"""Which run a process belongs to, and the lock that says it is alive."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import InvalidNameError, StorageError
from model_checkpoint.kernel.identity import RunLock, default_experiment, one_at_a_time, stated_run

HOLD = """
import sys
from pathlib import Path
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.kernel.identity import RunLock
lock = RunLock("r", [Path(sys.argv[1])], FsOps())
print(lock.take(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("environ", "run"),
    [
        ({}, None),
        ({"MCE_RUN": ""}, None),
        ({"MCE_RUN": "mine"}, "mine"),
        ({"MCE_RUN": "mine", "SLURM_JOB_ID": "7"}, "mine"),
        ({"SLURM_JOB_ID": "7"}, "digits-slurm-7"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "0"}, "digits-slurm-8-0"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8"}, "digits-slurm-9"),
        ({"TORCHELASTIC_RUN_ID": "none"}, None),
        ({"TORCHELASTIC_RUN_ID": "a b/c"}, "digits-a-b-c"),
        ({"SLURM_JOB_ID": "7", "TORCHELASTIC_RUN_ID": "x"}, "digits-slurm-7"),
    ],
)
def test_the_environment_names_a_run_in_a_fixed_order(environ: dict[str, str], run: str | None) -> None:
    assert stated_run("digits", None, environ) == run


def test_what_the_caller_says_comes_first() -> None:
    assert stated_run("digits", "told", {"MCE_RUN": "mine"}) == "told"


@pytest.mark.parametrize("environ", [{"MCE_RUN": "../x"}, {"SLURM_JOB_ID": "7;rm"}])
def test_a_name_from_the_environment_is_checked_like_any_other(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidNameError, match="cannot be the name of a run"):
        stated_run("digits", None, environ)


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/home/ada/train.py"], "train"),
        (["train.v2.py"], "train.v2"),
        (["./my train.py", "--lr", "1"], "my-train"),
        (["/usr/lib/python3/site-packages/mypackage/__main__.py"], "mypackage"),
        (["/usr/lib/python3/site-packages/ipykernel_launcher.py"], "default"),
        (["/usr/local/lib/python3/dist-packages/colab_kernel_launcher.py"], "default"),
        (["-c"], "default"),
        (["-m"], "default"),
        ([""], "default"),
        ([], "default"),
        (["con.py"], "x-con"),
        (["обучение.py"], "x"),
    ],
    ids=str,
)
def test_an_experiment_is_named_like_its_script(argv: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert default_experiment() == name


def test_a_lock_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    lock = RunLock("r", [tmp_path], FsOps())
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "True"
    assert not lock.take()
    holder.kill()
    holder.communicate()
    assert lock.take()
    lock.release()
    lock.release()


def test_a_lock_in_two_places_is_taken_in_both_or_in_neither(tmp_path: Path) -> None:
    first, second = RunLock("r", [tmp_path / "a"], FsOps()), RunLock("r", [tmp_path / "b"], FsOps())
    both = RunLock("r", [tmp_path / "a", tmp_path / "b"], FsOps())
    assert second.take()
    assert not both.take()
    assert first.take()
    first.release()
    second.release()
    assert both.take()
    assert not first.take()
    assert not second.take()
    both.release()


def test_a_lock_that_one_thread_took_another_may_let_go_of(tmp_path: Path) -> None:
    lock, other = RunLock("r", [tmp_path], FsOps()), RunLock("r", [tmp_path], FsOps())
    thread = threading.Thread(target=lock.take)
    thread.start()
    thread.join()
    assert not other.take()
    lock.release()
    assert other.take()
    other.release()


def test_a_forked_child_neither_holds_the_lock_nor_loosens_it(tmp_path: Path) -> None:
    lock, other = RunLock("r", [tmp_path], FsOps()), RunLock("r", [tmp_path], FsOps())
    assert lock.take()
    gone, wait = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            lock.release()  # as the end of an interpreter does
            os.write(gone[1], b"x")
            os.read(wait[0], 1)
        finally:
            os._exit(0)
    os.read(gone[0], 1)
    try:
        assert not other.take(), "the child loosened its parent's lock"
        lock.release()
        assert other.take(), "the child still held its parent's lock"
    finally:
        os.write(wait[1], b"x")
        os.waitpid(child, 0)
        other.release()


def test_a_place_that_cannot_be_locked_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "r" / "lock").mkdir(parents=True)
    with pytest.raises(StorageError, match="locking"):
        RunLock("r", [tmp_path], FsOps()).take()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="preparing"):
        RunLock("r", [tmp_path / "file"], FsOps())


def test_starts_come_one_after_another(tmp_path: Path) -> None:
    inside: list[int] = []
    worst: list[int] = []

    def start() -> None:
        with one_at_a_time(tmp_path, FsOps()):
            inside.append(1)
            worst.append(len(inside))
            threading.Event().wait(0.01)
            inside.pop()

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == [1] * 5


def test_a_start_that_is_stuck_holds_up_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("model_checkpoint.kernel.identity.START_TIMEOUT_S", 0.1)
    with one_at_a_time(tmp_path, FsOps()), one_at_a_time(tmp_path, FsOps()):
        assert "another process has been starting a run" in caplog.text
