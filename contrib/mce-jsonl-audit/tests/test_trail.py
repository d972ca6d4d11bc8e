"""Appending: one chain from several processes, killed writers, full disks, rotation."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mce_jsonl_audit import Trail, head, verify
from mce_jsonl_audit.lines import EVENT, MAX_LINE_NBYTES
from mce_jsonl_audit.trail import content, rotated

from model_checkpoint.errors import StorageError

EVENT_LINE = content(EVENT, "on_run_start", 1.0, run="digits-1")
WRITER = """
import sys
from pathlib import Path
from mce_jsonl_audit.trail import Trail, content
trail = Trail(Path(sys.argv[1]), max_nbytes=int(sys.argv[3]), lock_timeout_s=60)
number = 0
while number < int(sys.argv[2]):
    trail.append(content("event", "on_run_start", 1.0, fields={"number": number, "text": "x" * 500}))
    number += 1
    print(number, flush=True)
"""


def start_writer(path: Path, count: int, max_nbytes: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(path), str(count), str(max_nbytes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_the_first_line_begins_the_chain_and_says_which_format_it_is(path: Path) -> None:
    Trail(path).append(EVENT_LINE)
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["seq"], first["previous"], first["fields"]["format"]) == (0, "0" * 64, "mce-audit/1")
    assert (second["seq"], second["previous"], second["run"]) == (1, first["sha256"], "digits-1")


def test_a_line_says_who_wrote_it_and_when_in_utc(path: Path) -> None:
    Trail(path).append(EVENT_LINE)
    line = json.loads(path.read_text().splitlines()[1])
    assert line["at"] == "1970-01-01T00:00:01.000000Z"
    assert line["actor"]["pid"] == os.getpid()
    assert line["actor"]["user"]
    assert line["actor"]["host"]


def test_several_processes_write_one_chain(path: Path) -> None:
    writers = [start_writer(path, 150) for _ in range(4)]
    assert [writer.wait() for writer in writers if writer.communicate()] == [0] * 4
    report = verify(path)
    assert (report.findings, report.torn, report.lines) == ([], [], 4 * 150 + 1)


def test_several_processes_that_rotate_write_one_chain(path: Path) -> None:
    writers = [start_writer(path, 100, 20_000) for _ in range(3)]
    assert [writer.wait() for writer in writers if writer.communicate()] == [0] * 3
    report = verify(path)
    assert report.findings == []
    assert len(report.files) > 10
    assert report.lines == 3 * 100 + len(report.files)


def test_killed_writers_never_break_the_chain(path: Path) -> None:
    said = 0
    for delay_s in (0.001, 0.004, 0.009, 0.013, 0.02, 0.03):
        writers = [start_writer(path, 10**6, 50_000) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(delay_s)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            said += len(writer.communicate()[0].splitlines()) + 1
    report = verify(path)
    assert report.findings == []
    assert report.lines >= said + len(report.files), "a line that a writer had finished is gone"


@pytest.mark.parametrize("kept", [1, 8, 40, -1])
def test_a_torn_last_line_is_sealed_by_the_next_writer_and_kept(path: Path, write, kept: int) -> None:
    write(3)
    whole = path.read_bytes()
    torn = whole.splitlines()[-1][:kept]
    path.write_bytes(whole + torn)
    write(2)
    assert path.read_bytes().startswith(whole + torn + b"\n")
    seal = json.loads(path.read_bytes()[len(whole + torn) + 1 :].splitlines()[0])
    assert (seal["kind"], seal["fields"]["nbytes"]) == ("seal", len(torn))
    report = verify(path)
    assert (report.findings, len(report.torn)) == ([], 1)


def test_a_line_torn_within_the_very_first_one_is_sealed_too(path: Path, write) -> None:
    path.write_bytes(b'{"actor":{"host"')
    write(1)
    assert (verify(path).findings, len(verify(path).torn)) == ([], 1)


def test_zeros_that_a_power_cut_left_are_sealed(path: Path, write) -> None:
    write(2)
    with path.open("ab") as file:
        file.write(bytes(5 * MAX_LINE_NBYTES))
    write(1)
    report = verify(path)
    assert (report.findings, len(report.torn)) == ([], 1)


def test_a_file_that_is_no_trail_is_left_as_it_is(path: Path) -> None:
    path.write_text("import torch\n")
    with pytest.raises(StorageError, match="no audit trail"):
        Trail(path).append(EVENT_LINE)
    assert path.read_text() == "import torch\n"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/null", path)])
def test_what_is_no_regular_file_is_not_written_to(path: Path, make) -> None:
    make(path)
    with pytest.raises(OSError, match=r"."):
        Trail(path).append(EVENT_LINE)


def test_a_write_that_fails_half_way_leaves_nothing(path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(2)
    before, real = path.read_bytes(), os.write
    left = [100]

    def full(descriptor: int, data: bytes) -> int:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: left.pop()])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        Trail(path).append(EVENT_LINE)
    assert path.read_bytes() == before


def test_a_lock_that_another_holds_is_not_waited_for_longer_than_told(path: Path) -> None:
    trail = Trail(path, lock_timeout_s=0.1)
    trail.append(EVENT_LINE)
    held = trail._hold()
    try:
        with pytest.raises(StorageError, match="locked by another process"):
            Trail(path, lock_timeout_s=0.1).append(EVENT_LINE)
    finally:
        held.close()


def test_rotation_carries_the_chain_on(path: Path, write) -> None:
    write(60, max_nbytes=5000)
    assert [each.name for each in rotated(path)][:2] == ["audit.000001.jsonl", "audit.000002.jsonl"]
    assert all(each.stat().st_size < 6000 for each in [*rotated(path), path])
    assert verify(path).findings == []


def test_a_writer_killed_between_two_files_is_followed_where_it_left_off(path: Path, write) -> None:
    write(60, max_nbytes=5000)
    last = head(path).seq
    path.rename(path.with_name(f"audit.{len(rotated(path)) + 1:06d}.jsonl"))
    write(1)
    assert (verify(path).findings, head(path).seq) == ([], last + 2)


def test_a_line_that_would_be_too_long_says_how_long_it_was(path: Path) -> None:
    Trail(path).append(content(EVENT, "on_run_start", 1.0, fields={"many": ["x" * 900] * 100}))
    line = json.loads(path.read_text().splitlines()[1])
    assert line["fields"]["left_out_nbytes"] > 90_000
    assert verify(path).ok


def test_a_durable_trail_syncs_every_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    trail = Trail(path, durable=True)
    trail.append(EVENT_LINE)
    trail.append(EVENT_LINE)
    assert path.stat().st_size in synced
    assert len([size for size in synced if size]) >= 2


def test_a_forked_child_goes_on_with_the_same_chain(path: Path) -> None:
    trail = Trail(path)
    trail.append(EVENT_LINE)
    if (child := os.fork()) == 0:
        trail.append(EVENT_LINE)
        os._exit(0)
    os.waitpid(child, 0)
    trail.append(EVENT_LINE)
    assert (verify(path).findings, verify(path).lines) == ([], 4)
