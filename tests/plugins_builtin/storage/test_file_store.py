"""The store of files beyond the contract: its layout, other people's files in it, and its housekeeping."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.common.digest import sha256_hex
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import Buffer, CheckpointPayload
from model_checkpoint.errors import (
    CheckpointNotFoundError,
    IntegrityError,
    InvalidNameError,
    MissingFileError,
)
from model_checkpoint.storage.file_store import FileStore
from model_checkpoint.storage.pytorch import open_pytorch
from model_checkpoint.storage.safetensors import open_safetensors
from model_checkpoint.testing.faulty_fs import FaultyFs, Killed, snapshot
from model_checkpoint.testing.storage_samples import Opener, buffer, payload


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


def test_an_id_that_cannot_be_kept_is_refused_before_anything_is_made(store: FileStore, root: Path) -> None:
    with pytest.raises(InvalidNameError, match=r"'\.\./x' cannot be the name of a checkpoint"):
        store.write(payload("../x"))
    assert not root.exists()


def test_hundreds_of_thousands_of_empty_tensors_are_kept(store: FileStore) -> None:
    nothing = memoryview(b"")
    buffers = [Buffer(f"layer.{number}", "float32", (0,), nothing) for number in range(30_000)]
    store.write(CheckpointPayload("one", {}, buffers, {}))
    assert len(store.read("one").buffers) == 30_000


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux lists a process's open files")
@pytest.mark.parametrize("open_backend", [open_safetensors, open_pytorch])
def test_hundreds_of_writes_and_reads_leave_no_file_open(open_backend: Opener, root: Path) -> None:
    store = open_backend(root, FsOps())
    seen = []
    for number in range(60):
        store.write(payload("one", seed=number))
        store.read("one")
        store.verify("one")
        with pytest.raises(FileExistsError):
            store.write(payload("one"))
        with pytest.raises(IntegrityError):
            store.read("one", expected_digest="0")
        store.forget("one")
        store.collect()
        seen.append(len(os.listdir("/proc/self/fd")))
    assert seen[-1] <= seen[2] + 1
    store.close()
    assert len(os.listdir("/proc/self/fd")) < seen[-1]


def test_every_changed_byte_and_every_length_of_a_small_store_is_refused_by_name(store: FileStore, root: Path) -> None:
    store.write(CheckpointPayload("one", {}, [buffer("w", "int8", (3,))], {}))
    for path in (root / "data/one.safetensors", root / "manifests/one.json"):
        whole = path.read_bytes()
        changed = [whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :] for at in range(len(whole))]
        for wrong in [*changed, *(whole[:length] for length in range(len(whole)))]:
            path.write_bytes(wrong)
            with pytest.raises(IntegrityError, match=path.name):
                store.read("one")
        path.write_bytes(whole)
    assert bytes(store.read("one").buffers[0].data) == bytes(buffer("w", "int8", (3,)).data)
