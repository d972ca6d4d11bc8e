"""The store of files beyond the contract: its layout, other people's files in it, and its housekeeping."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import (
    CheckpointNotFoundError,
    IntegrityError,
    InvalidNameError,
    MissingFileError,
    StorageError,
    StorageReadOnlyError,
)
from model_checkpoint.storage.file_store import FileStore
from model_checkpoint.storage.safetensors import open_safetensors
from model_checkpoint.testing.faulty_fs import FaultyFs, Killed, snapshot
from model_checkpoint.testing.storage_samples import contents, payload


class WithoutLinks(FaultyFs):
    """A file system such as FAT."""

    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> FileStore:
    opened = open_safetensors(root, FsOps())
    assert isinstance(opened, FileStore)
    return opened


def test_a_checkpoint_is_the_two_files_that_users_were_promised(store: FileStore, root: Path) -> None:
    receipt = store.write(payload("one"))
    store.close()
    assert set(snapshot(root)) == {"data/one.safetensors", "manifests/one.json"}
    assert store.file_path("one") == root / "data" / "one.safetensors"
    assert [(file.name, file.nbytes) for file in receipt.files] == [
        (name, (root / name).stat().st_size) for name in ("data/one.safetensors", "manifests/one.json")
    ]
    assert receipt.nbytes_written == sum(file.nbytes for file in receipt.files)
    for file in receipt.files:
        checked = subprocess.run(["sha256sum", root / file.name], capture_output=True, text=True, check=True)
        assert checked.stdout.startswith(file.sha256)


def test_the_digest_is_what_sha256sum_says_of_the_first_line(store: FileStore, root: Path) -> None:
    receipt = store.write(payload("one"))
    line = f"head -n 1 {root}/manifests/one.json | tr -d '\\n' | sha256sum"
    said = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
    assert said.startswith(receipt.digest)
    assert (root / "manifests/one.json").read_text().endswith(f"\n{receipt.digest}\n")


def test_modes_follow_the_umask(root: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; os.umask(0o027)\n"
        "from model_checkpoint.common.fsops import FsOps\n"
        "from model_checkpoint.storage.safetensors import open_safetensors\n"
        "from model_checkpoint.testing.storage_samples import payload\n"
        "open_safetensors(Path(sys.argv[1]), FsOps()).write(payload('one'))"
    )
    subprocess.run([sys.executable, "-c", program, str(root)], check=True, timeout=60)
    assert {oct(path.stat().st_mode & 0o777) for path in root.rglob("one*")} == {"0o640"}
    assert oct((root / "data").stat().st_mode & 0o777) == "0o750"


def test_looking_at_a_store_that_is_not_there_creates_nothing(store: FileStore, root: Path) -> None:
    assert list(store.list_ids()) == []
    assert store.collect().removed == ()
    for call in (store.read, store.verify, store.forget, store.file_path):
        with pytest.raises(CheckpointNotFoundError, match="there is no checkpoint 'one' in"):
            call("one")
    store.close()
    assert not root.exists()


def put_elsewhere(path: Path) -> Path:
    return path.rename(path.parents[2] / f"moved-{path.name}")


def symlink(path: Path) -> None:
    path.symlink_to(put_elsewhere(path))


def directory(path: Path) -> None:
    put_elsewhere(path)
    path.mkdir()


def pipe(path: Path) -> None:
    put_elsewhere(path)
    os.mkfifo(path)


def device(path: Path) -> None:
    put_elsewhere(path)
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero


def endless(path: Path) -> None:
    os.truncate(path, 2**42)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["data/one.safetensors", "manifests/one.json"])
@pytest.mark.parametrize("replace", [symlink, directory, pipe, device, endless])
def test_something_else_in_the_place_of_a_file_is_refused_by_name(
    name: str, replace: Callable[[Path], None], store: FileStore, root: Path
) -> None:
    store.write(payload("one"))
    try:
        replace(root / name)
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(IntegrityError, match=Path(name).name) as refused:
        store.read("one")
    assert refused.value.path == str(root / name)
    report = store.verify("one")
    assert not report.ok
    assert name in report.bad_parts[0]


def test_a_second_name_of_a_file_elsewhere_is_not_mistaken_for_an_unfinished_write(
    store: FileStore, root: Path, tmp_path: Path
) -> None:
    store.write(payload("one"))
    os.link(root / "data/one.safetensors", tmp_path / "backup")
    (root / "manifests/one.json").unlink()
    with pytest.raises(MissingFileError, match=r"one\.json is gone"):
        store.read("one")
    store.collect()
    assert (root / "data/one.safetensors").exists(), "nothing damaged is destroyed"


def test_a_checkpoint_that_lost_a_file_can_be_forgotten(store: FileStore, root: Path) -> None:
    for name in ("data/one.safetensors", "manifests/one.json"):
        store.write(payload("one"))
        (root / name).unlink()
        assert store.forget("one") > 0
        with pytest.raises(CheckpointNotFoundError):
            store.read("one")
    store.close()
    assert snapshot(root) == {}


def test_a_manifest_that_names_another_file_opens_nothing(store: FileStore, root: Path) -> None:
    from model_checkpoint.common.digest import sha256_hex

    store.write(payload("one"))
    path = root / "manifests/one.json"
    for name in ("../../etc/passwd", "two.safetensors", "/etc/passwd", ""):
        line = path.read_bytes().split(b"\n")[0].replace(b'"one.safetensors"', b'"' + name.encode() + b'"')
        path.write_bytes(line + b"\n" + sha256_hex(line).encode() + b"\n")
        with pytest.raises(IntegrityError, match=r"one\.json names another data file"):
            store.read("one")
        store.forget("one")
        store.write(payload("one"))


def test_what_is_not_ours_is_not_listed_and_not_removed(store: FileStore, root: Path) -> None:
    store.write(payload("one"))
    strangers = [
        "manifests/.x.json",
        "manifests/notes.txt",
        "manifests/a b.json",
        "data/mine.txt",
        "tmp/notes",
        "tmp/x.y",
    ]
    for name in strangers:
        (root / name).write_text("x")
    (root / "manifests" / "CON.json").mkdir()
    assert list(store.list_ids()) == ["one"]
    store.collect()
    assert all((root / name).exists() for name in strangers)


def test_leftovers_are_reported_when_they_are_collected(root: Path) -> None:
    fs = FaultyFs()
    dying = open_safetensors(root, fs)
    fs.arm(after=0, fault=Killed(), before=False, lasting=True, only={"link"})
    with pytest.raises(Killed):
        dying.write(payload("rubbish"))
    fs.bury()
    left = {name: len(content) for name, content in snapshot(root).items() if "rubbish" in name}
    assert {name.rpartition("/")[2] for name in left} == {
        *("rubbish", "rubbish.safetensors", "0.rubbish.safetensors", "1.rubbish.json")  # the first is the claim
    }
    report = open_safetensors(root, FsOps()).collect()
    assert set(report.removed) == {name for name in left if not name.startswith("tmp/claims")}
    assert report.nbytes_freed == sum(left.values()) - left["data/rubbish.safetensors"], "two names of one file"
    assert snapshot(root) == {}
    assert open_safetensors(root, FsOps()).collect().removed == ()


def test_a_writer_that_lives_is_never_cleaned_up_after(root: Path) -> None:
    """The collector comes between any two calls of a write."""

    class Meddling(FaultyFs):
        def step(self, name: str, work: Callable[[], object]) -> object:
            if self._locks:  # the writer has its folder
                other.collect()
            return super().step(name, work)

    other = open_safetensors(root, FsOps())
    store = open_safetensors(root, Meddling())
    for number in range(3):
        store.write(payload(f"c{number}"))
        assert contents(other.read(f"c{number}")) == contents(payload(f"c{number}"))
    assert store.forget("c1") > 0
    assert set(other.list_ids()) == {"c0", "c2"}


def test_a_store_that_was_removed_while_it_was_open_begins_anew(store: FileStore, root: Path) -> None:
    store.write(payload("one"))
    shutil.rmtree(root)
    store.write(payload("two"))
    assert list(store.list_ids()) == ["two"]
    shutil.rmtree(root / "tmp")
    store.write(payload("three"))
    store.close()
    assert contents(store.read("three")) == contents(payload("three"))


def test_closing_twice_and_going_on_afterwards_are_allowed(store: FileStore) -> None:
    store.close()
    store.write(payload("one"))
    store.close()
    store.close()
    assert contents(store.read("one")) == contents(payload("one"))


def test_parent_and_forked_child_write_side_by_side(store: FileStore, root: Path) -> None:
    store.write(payload("before"))
    child = os.fork()
    if not child:
        try:
            store.write(payload("child"))
            store.collect()
            store.close()
        finally:
            os._exit(0)
    store.write(payload("parent"))
    assert os.waitpid(child, 0)[1] == 0
    store.write(payload("after"))
    assert set(store.list_ids()) == {"before", "child", "parent", "after"}
    assert all(store.verify(name).ok for name in store.list_ids())
    store.close()
    assert {name for name in snapshot(root) if name.startswith("tmp/")} == set()


def test_a_file_system_without_hard_links_keeps_the_promises_too(root: Path) -> None:
    store = open_safetensors(root, WithoutLinks())
    store.write(payload("one", seed=1))
    with pytest.raises(FileExistsError):
        store.write(payload("one", seed=2))
    assert contents(store.read("one")) == contents(payload("one", seed=1))
    assert store.forget("one") > 0
    with pytest.raises(CheckpointNotFoundError):
        store.read("one")
    store.close()
    assert snapshot(root) == {}


def test_what_a_killed_writer_left_without_hard_links_is_written_over(root: Path) -> None:
    fs = WithoutLinks()
    dying = open_safetensors(root, fs)
    fs.arm(after=0, fault=Killed(), before=False, lasting=True, only={"rename"})
    with pytest.raises(Killed):
        dying.write(payload("one", seed=1))
    fs.bury()
    store = open_safetensors(root, WithoutLinks())
    store.write(payload("one", seed=2))
    assert contents(store.read("one")) == contents(payload("one", seed=2))


def test_a_store_that_can_only_be_read_is_read(store: FileStore) -> None:
    """As on a read-only mount: every call that would change something is refused."""
    store.write(payload("one"))
    store.close()
    fs = FaultyFs()
    reader = open_safetensors(store.file_path("one").parents[1], fs)  # type: ignore[union-attr]
    changing = {"make_dirs", "create", "link", "unlink", "rename", "lock", "sync_dir", "remove_dir"}
    fs.arm(after=0, fault=OSError(errno.EROFS, "Read-only file system"), lasting=True, only=changing)
    assert contents(reader.read("one")) == contents(payload("one"))
    assert reader.verify("one").ok
    assert list(reader.list_ids()) == ["one"]
    with pytest.raises(CheckpointNotFoundError):
        reader.read("two")
    for change in (lambda: reader.write(payload("two")), lambda: reader.forget("one")):
        with pytest.raises(StorageReadOnlyError, match="Choose another checkpoint_dir"):
            change()
    reader.close()


def test_a_disk_that_fails_while_reading_is_not_called_damage(store: FileStore) -> None:
    store.write(payload("one"))
    path = store.file_path("one")
    assert path is not None
    fs = FaultyFs()
    reader = open_safetensors(path.parents[1], fs)
    for name in ("read", "open_regular"):
        fs.arm(after=0, fault=OSError(errno.EIO, "as told"), only={name})
        with pytest.raises(StorageError, match=r"reading .*one.* failed: as told. It was left as it is") as told:
            reader.read("one")
        assert not isinstance(told.value, IntegrityError)
        fs.arm(after=0, fault=OSError(errno.EIO, "as told"), only={name})
        report = reader.verify("one")
        assert not report.ok
        assert "as told" in report.bad_parts[0]


def test_an_id_that_cannot_be_kept_is_refused_before_anything_is_made(store: FileStore, root: Path) -> None:
    with pytest.raises(InvalidNameError, match=r"'\.\./x' cannot be the name of a checkpoint"):
        store.write(payload("../x"))
    assert not root.exists()


def test_hundreds_of_thousands_of_empty_tensors_are_kept(store: FileStore) -> None:
    from model_checkpoint.contracts import Buffer, CheckpointPayload

    nothing = memoryview(b"")
    buffers = [Buffer(f"layer.{number}", "float32", (0,), nothing) for number in range(30_000)]
    store.write(CheckpointPayload("one", {}, buffers, {}))
    assert len(store.read("one").buffers) == 30_000


@pytest.mark.parametrize("name", ["create", "write", "sync_file", "sync_dir", "link", "lock"])
def test_a_write_that_fails_leaves_no_file_of_its_own(name: str, root: Path) -> None:
    for after in range(20):
        fs = FaultyFs()
        store = open_safetensors(root, fs)
        fs.arm(after=after, fault=OSError(errno.EIO, "as told"), only={name})
        with contextlib.suppress(StorageError):
            store.write(payload("one"))
        if not fs.fired:
            break
        fs.disarm()
        left = set(snapshot(root)) - {"data/one.safetensors", "manifests/one.json"}
        assert {path for path in left if "one" in path} == set()
        if list(store.list_ids()):  # sweeping failed, which is no reason not to write
            store.forget("one")
        store.close()
        assert snapshot(root) == {}
    assert after > 0


def test_data_that_cannot_be_removed_after_a_failure_stays_uncommitted(root: Path) -> None:
    class KeepsData(FaultyFs):
        def unlink(self, path: Path) -> None:
            if path.parent.name == "data" and path.exists():
                raise OSError(errno.EIO, "as told")
            super().unlink(path)

    fs = KeepsData()
    store = open_safetensors(root, fs)
    fs.arm(after=1, fault=OSError(errno.EIO, "as told"), only={"link"})
    with pytest.raises(StorageError, match="as told"):
        store.write(payload("one"))
    fs.bury()
    assert (root / "data/one.safetensors").exists()
    other = open_safetensors(root, FsOps())
    with pytest.raises(CheckpointNotFoundError):
        other.read("one")
    other.collect()
    assert snapshot(root) == {}
