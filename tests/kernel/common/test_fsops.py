"""The file-system calls: what is refused, what is exclusive, and what a failure leaves behind."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import (
    FsOps,
    FullWriter,
    HeldLock,
    locked,
    publish_new,
    replace_file,
    typed_errors,
    typed_read_errors,
    write_temp,
)
from model_checkpoint.errors import (
    CheckpointExistsError,
    IntegrityError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)
from model_checkpoint.testing.faulty_fs import FaultyFs, Killed
from model_checkpoint.testing.record_samples import in_threads


class WithoutLinks(FsOps):
    """A file system such as FAT, and a slow one, so that others come between two calls."""

    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    def identity(self, path: Path) -> tuple[int, int] | None:
        found = super().identity(path)
        time.sleep(0.002)
        return found


class LosesTheAnswer(FsOps):
    """A file server that links and is asked again, since its answer was lost."""

    def __init__(self, code: int) -> None:
        self.code = code

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        raise OSError(self.code, "as seen by the client", str(target))


def filled(path: Path, content: bytes = b"content") -> Path:
    path.write_bytes(content)
    return path


def test_directories_are_made_and_each_parent_synced(tmp_path: Path) -> None:
    fs = FaultyFs()
    fs.make_dirs(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a/b/c").is_dir()
    assert fs.log == ["make_dirs", "sync_dir", "sync_dir", "sync_dir"]
    fs.make_dirs(tmp_path / "a" / "b")


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way_of_a_directory_is_an_error(tmp_path: Path, below: str) -> None:
    filled(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        FsOps().make_dirs(tmp_path / "file" / below)


def test_a_file_is_created_only_once(tmp_path: Path) -> None:
    with FsOps().create(tmp_path / "a") as file:
        file.write(b"x")
    with pytest.raises(FileExistsError):
        FsOps().create(tmp_path / "a")


def test_a_whole_file_is_read_into_memory_that_can_be_written(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    read = FsOps().read(filled(tmp_path / "a", content), limit=len(content))
    assert isinstance(read, bytearray)
    assert read == content
    assert FsOps().read(filled(tmp_path / "empty", b""), limit=0) == b""
    with pytest.raises(FileNotFoundError):
        FsOps().read(tmp_path / "nothing", limit=1)


def test_a_file_that_is_longer_than_it_may_be_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    huge = filled(tmp_path / "huge")
    os.truncate(huge, 2**42)
    with pytest.raises(
        IntegrityError, match="huge is 4398046511104 bytes long where at most 100 are expected"
    ) as refused:
        FsOps().read(huge, limit=100)
    assert (refused.value.path, refused.value.expected, refused.value.actual) == (str(huge), "100", str(2**42))


def a_symlink(path: Path) -> None:
    path.symlink_to(filled(path.with_name("elsewhere")))


def a_dangling_symlink(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def a_directory(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    os.chdir(path.parent)  # an address of a socket is at most 108 bytes long
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path.name)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [a_symlink, a_dangling_symlink, a_directory, a_pipe, a_socket])
def test_what_is_no_file_is_refused_and_never_waited_for(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "thing")
    with pytest.raises(IntegrityError, match="thing is no regular file") as refused:
        FsOps().read(tmp_path / "thing", limit=100)
    assert refused.value.path == str(tmp_path / "thing")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_file(device: str) -> None:
    with pytest.raises(IntegrityError):
        FsOps().read(Path(device), limit=100)


def test_a_directory_that_is_not_there_lists_nothing(tmp_path: Path) -> None:
    assert FsOps().list_dir(tmp_path / "nothing") == FsOps().list_dir(filled(tmp_path / "file")) == []
    filled(tmp_path / "b")
    assert FsOps().list_dir(tmp_path) == ["b", "file"]


def test_two_names_of_one_file_have_one_identity(tmp_path: Path) -> None:
    fs = FsOps()
    fs.link(filled(tmp_path / "a"), tmp_path / "b")
    assert fs.identity(tmp_path / "a") == fs.identity(tmp_path / "b") != fs.identity(filled(tmp_path / "c"))
    assert fs.identity(tmp_path / "nothing") is fs.identity(tmp_path / "a" / "below") is None
    assert (fs.size(tmp_path / "a"), fs.size(tmp_path / "nothing")) == (7, None)


def test_removing_what_is_gone_is_fine(tmp_path: Path) -> None:
    FsOps().unlink(tmp_path / "nothing")
    FsOps().remove_dir(tmp_path / "nothing")


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    first = FsOps().lock(tmp_path / "lock")
    assert isinstance(first, HeldLock)
    assert FsOps().lock(tmp_path / "lock", timeout_s=0.05) is None
    first.close()
    first.close()
    second = FsOps().lock(tmp_path / "lock")
    assert second is not None
    second.close()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder removes the file and lets go between our opening and locking it, and a third one makes it anew."""
    third: list[HeldLock | None] = []
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        (tmp_path / "lock").unlink()
        third.append(FsOps().lock(tmp_path / "lock"))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert FsOps().lock(tmp_path / "lock") is None
    assert third[0] is not None
    third[0].close()


def test_of_many_who_lock_and_remove_a_file_one_holds_it_at_a_time(tmp_path: Path) -> None:
    held: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            with locked(FsOps(), tmp_path / "lock"):
                held.append(number)
                most.append(len(held))
                held.remove(number)

    in_threads(4, work)
    assert max(most) == 1
    assert not (tmp_path / "lock").exists()


def test_waiting_for_a_lock_ends_with_an_error_that_names_it(tmp_path: Path) -> None:
    other = FsOps().lock(tmp_path / "lock")
    with (
        pytest.raises(StorageError, match=r"has held .*lock for 0 s.*end it and try again"),
        locked(FsOps(), tmp_path / "lock", timeout_s=0.1),
    ):
        pytest.fail("the lock was taken twice")
    assert other is not None
    other.close()


def take_and_die(path: Path, taken: threading.Event) -> None:
    assert FsOps().lock(path) is not None
    taken.set()
    os._exit(1)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    taken = context.Event()
    child = context.Process(target=take_and_die, args=(tmp_path / "lock", taken))
    child.start()
    assert taken.wait(30)
    child.join(30)
    held = FsOps().lock(tmp_path / "lock", timeout_s=10)
    assert held is not None
    held.close()


def test_a_forked_child_does_not_take_its_parents_lock_away(tmp_path: Path) -> None:
    held = FsOps().lock(tmp_path / "lock")
    assert held is not None
    child = os.fork()
    if not child:
        held.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert FsOps().lock(tmp_path / "lock") is None
    held.close()


@pytest.mark.parametrize("fs", [FsOps(), WithoutLinks()], ids=["links", "no links"])
def test_a_name_is_given_only_once(fs: FsOps, tmp_path: Path) -> None:
    publish_new(fs, filled(tmp_path / "first", b"1"), tmp_path / "name")
    with pytest.raises(CheckpointExistsError, match="name exists already"):
        publish_new(fs, filled(tmp_path / "second", b"2"), tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == b"1"
    assert (tmp_path / "second").read_bytes() == b"2"


@pytest.mark.parametrize("fs", [FsOps(), WithoutLinks()], ids=["links", "no links"])
def test_of_many_who_want_a_name_one_gets_it(fs: FsOps, tmp_path: Path) -> None:
    for round_number in range(5):
        target, winners = tmp_path / f"name-{round_number}", []

        def work(number: int, target: Path = target, winners: list[int] = winners) -> None:
            mine = filled(target.with_name(f"{target.name}-{number}"), b"%d" % number)
            try:
                publish_new(fs, mine, target)
            except CheckpointExistsError:
                return
            winners.append(number)

        in_threads(6, work)
        assert [b"%d" % number for number in winners] == [target.read_bytes()]
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".lock"]


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO])
def test_a_link_whose_answer_was_lost_counts(code: int, tmp_path: Path) -> None:
    publish_new(LosesTheAnswer(code), filled(tmp_path / "temp"), tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == b"content"


def test_a_link_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        publish_new(FsOps(), tmp_path / "nothing", tmp_path / "name")


def test_a_name_that_could_not_be_made_durable_is_taken_back(tmp_path: Path) -> None:
    fs = FaultyFs()
    fs.arm(after=0, fault=OSError(errno.EIO, "as told"), only={"sync_dir"})
    with pytest.raises(OSError, match="as told"):
        publish_new(fs, filled(tmp_path / "temp"), tmp_path / "name")
    assert not (tmp_path / "name").exists()


@pytest.mark.parametrize("call", ["create", "write", "sync_file"])
def test_a_file_that_could_not_be_written_is_removed(call: str, tmp_path: Path) -> None:
    fs = FaultyFs()
    fs.arm(after=0, fault=OSError(errno.ENOSPC, "as told"), only={call})
    with pytest.raises(OSError, match="as told"):
        write_temp(fs, tmp_path / "temp", lambda out: out.write(memoryview(b"x" * 100)))
    assert list(tmp_path.iterdir()) == []
    assert fs.log.count("sync_file") <= 1, "after a failed fsync the kernel may have dropped what it could not write"


def test_a_write_goes_on_where_the_system_stopped_half_way(tmp_path: Path) -> None:
    content = memoryview(os.urandom(100_000))
    assert write_temp(FaultyFs(), tmp_path / "a", lambda out: out.write(content)) == 100_000
    assert (tmp_path / "a").read_bytes() == content
    with FsOps().create(tmp_path / "b") as file:
        assert FullWriter(file).write(memoryview(b"")) == 0


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    target = filled(tmp_path / "name", b"old")
    for after in range(20):
        fs = FaultyFs()
        fs.arm(after=after, fault=OSError(errno.EIO, "as told"))
        try:
            replace_file(fs, target, b"new" * 5000)
        except OSError:
            assert target.read_bytes() in (b"old", b"new" * 5000)
            assert list(tmp_path.iterdir()) == [target]
        if not fs.fired:
            break
    assert target.read_bytes() == b"new" * 5000
    assert after > 3


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (errno.ENOSPC, StorageFullError, "no space left while writing .*free some space"),
        (errno.EDQUOT, StorageFullError, "no space left"),
        (errno.EROFS, StorageReadOnlyError, "not allowed to write while writing .*MCE_CHECKPOINT_DIR"),
        (errno.EACCES, StorageReadOnlyError, "not allowed"),
        (errno.EIO, StorageError, "writing .*name failed: as told"),
    ],
)
def test_what_the_system_refuses_becomes_an_error_of_ours(code: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught, typed_errors("writing", Path("name")):
        raise OSError(code, "as told")
    assert isinstance(caught.value.__cause__, OSError)


def test_errors_of_ours_pass_as_they_are() -> None:
    for ours in (CheckpointExistsError("x"), IntegrityError("x")):
        with pytest.raises(type(ours), match=r"^x$"), typed_errors("writing", Path("name")):
            raise ours
    with pytest.raises(IntegrityError, match=r"^x$"), typed_read_errors(Path("name")):
        raise IntegrityError("x")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "as told"), MemoryError()])
def test_what_cannot_be_read_is_named(error: Exception) -> None:
    with pytest.raises(StorageError, match="reading name failed"), typed_read_errors(Path("name")):
        raise error


def test_a_process_that_is_gone_makes_no_more_calls(tmp_path: Path) -> None:
    fs = FaultyFs()
    fs.arm(after=1, fault=Killed(), lasting=True)
    fs.make_dirs(tmp_path)
    for _ in range(2):
        with pytest.raises(Killed):
            fs.identity(tmp_path)
    assert fs.fired
