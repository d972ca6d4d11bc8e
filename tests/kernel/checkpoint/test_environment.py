"""What a run ran on, read without starting a process and without reading a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_checkpoint.checkpoint.environment import environment, git_commit


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    environment.cache_clear()
    yield
    environment.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init")
    git(folder, "commit", "--allow-empty", "-m", "first")
    return folder


def test_it_names_code_packages_and_machine_as_json() -> None:
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["pid"] == os.getpid()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"]["pluggy"]  # type: ignore[index, call-overload]
    assert found["host"]
    assert str(found["platform"]).startswith(os.uname().sysname)


def test_no_process_is_started_for_it() -> None:
    program = (
        "import sys, subprocess\n"
        "from model_checkpoint.checkpoint.environment import environment\n"
        "sys.addaudithook(lambda name, _: name in ('subprocess.Popen', 'os.fork', 'os.posix_spawn', 'os.system') and"
        " print('started', name))\n"
        "environment()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_no_variable_and_no_argument_gets_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "s3cret-of-the-environment")
    monkeypatch.setattr(sys, "argv", ["/home/ada/train.py", "--token", "s3cret-of-the-arguments"])
    found = environment()
    assert "s3cret" not in json.dumps(found)
    assert found["script"] == "train.py"


def test_a_distribution_that_is_half_uninstalled_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, metadata in (("ghost", None), ("~half", b""), ("two_words", b"\xff\xfe\x00"), ("fine", b"Name: fine\n")):
        info = tmp_path / f"{name}-2.dist-info"
        info.mkdir()
        if metadata is not None:
            (info / "METADATA").write_bytes(metadata)
    monkeypatch.syspath_prepend(tmp_path)
    packages = environment()["packages"]
    assert isinstance(packages, dict)
    assert (packages["fine"], packages["two-words"]) == ("2", "2")
    assert {"ghost", "~half"}.isdisjoint(packages)


def test_the_commit_of_a_clone_is_found_from_anywhere_in_it(clone: Path) -> None:
    (clone / "a" / "b").mkdir(parents=True)
    assert git_commit(clone / "a" / "b") == git_commit(clone) == git(clone, "rev-parse", "HEAD")


def test_the_commit_is_found_where_the_refs_are_packed(clone: Path) -> None:
    git(clone, "tag", "v1")
    git(clone, "pack-refs", "--all")
    assert not (clone / ".git" / "refs" / "heads" / "main").exists()
    assert git_commit(clone) == git(clone, "rev-parse", "HEAD")


def test_the_commit_of_a_detached_head_is_found(clone: Path) -> None:
    first = git(clone, "rev-parse", "HEAD")
    git(clone, "commit", "--allow-empty", "-m", "second")
    git(clone, "checkout", "--detach", first)
    assert git_commit(clone) == first


def test_a_worktree_has_a_commit_of_its_own(clone: Path) -> None:
    tree = clone.parent / "tree"
    git(clone, "worktree", "add", "-b", "other", str(tree))
    git(tree, "commit", "--allow-empty", "-m", "there")
    assert git_commit(tree) == git(tree, "rev-parse", "HEAD") != git_commit(clone)


def test_outside_a_clone_and_before_the_first_commit_there_is_none(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    git(tmp_path, "init")
    assert git_commit(tmp_path) is None


@pytest.mark.parametrize("content", [b"\xff\xfe", b"ref: refs/heads/gone", b""])
def test_a_broken_clone_is_no_reason_to_stop(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(content)
    assert not git_commit(tmp_path)


def test_a_working_directory_that_was_removed_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert git_commit() is None
    assert environment()["git_commit"] is None
