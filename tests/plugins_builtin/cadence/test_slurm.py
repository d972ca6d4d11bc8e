"""The end of a job is asked of SLURM: its environment, then its commands."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from model_checkpoint.cadence import slurm

END = datetime(2031, 5, 17, 4, 30).timestamp()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that is looked in first."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def environ(**own: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **own}


def test_the_environment_says_it() -> None:
    assert slurm.end_time_s({"SLURM_JOB_END_TIME": "1794000000"}) == 1794000000.0


def test_what_remains_is_never_less_than_nothing() -> None:
    assert slurm.remaining_s({"SLURM_JOB_END_TIME": "1000"}) == 0.0
    assert slurm.remaining_s({"SLURM_JOB_END_TIME": str(int(time.time()) + 100)}) == pytest.approx(100, abs=3)


def test_outside_a_job_nobody_is_asked(commands: Path) -> None:
    put(commands, "squeue", "echo 2031-05-17T04:30:00")

    assert slurm.end_time_s(environ()) is None


def test_squeue_is_asked_for_this_job(commands: Path) -> None:
    put(commands, "squeue", '[ "$*" = "--noheader --jobs=42 --format=%e" ] && echo "  2031-05-17T04:30:00"')

    assert slurm.end_time_s(environ(SLURM_JOB_ID="42")) == END


@pytest.mark.parametrize("answer", ["echo N/A", "echo Unknown", "exit 1", "echo 2031-99-17T04:30:00", "printf '\\377'"])
def test_scontrol_is_asked_where_squeue_does_not_know(answer: str, commands: Path) -> None:
    put(commands, "squeue", answer)
    told = "JobId=42 StartTime=2031-05-17T00:30:00 EndTime=2031-05-17T04:30:00 Deadline=N/A"
    put(commands, "scontrol", f'[ "$*" = "--oneliner show job 42" ] && echo "{told}"')

    assert slurm.end_time_s(environ(SLURM_JOB_ID="42")) == END


def test_where_nobody_knows_there_is_no_end(commands: Path) -> None:
    for name in ("squeue", "scontrol"):
        put(commands, name, "echo EndTime=Unknown")

    assert slurm.end_time_s(environ(SLURM_JOB_ID="42")) is None


def test_a_controller_that_does_not_answer_is_not_waited_for(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT_S", 0.2)
    for name in ("squeue", "scontrol"):
        put(commands, name, "exec sleep 30")
    begin = time.monotonic()

    assert slurm.end_time_s(environ(SLURM_JOB_ID="42")) is None
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("job", ["", "42; rm -rf /", "--all", "../42"])
def test_what_is_no_number_of_a_job_is_not_asked_about(job: str, commands: Path) -> None:
    put(commands, "squeue", "echo 2031-05-17T04:30:00")

    assert slurm.end_time_s(environ(SLURM_JOB_ID=job)) is None
