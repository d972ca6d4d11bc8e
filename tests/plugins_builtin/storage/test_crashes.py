"""A process that ends at any moment, and a power cut at any moment, leave every checkpoint whole or not there at all.

Each case runs the real code up to one file-system call, ends there without any cleaning up, and looks at what is left
with a fresh backend.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend
from model_checkpoint.errors import CheckpointNotFoundError
from model_checkpoint.storage.pytorch import open_pytorch
from model_checkpoint.storage.safetensors import open_safetensors
from model_checkpoint.testing.faulty_fs import FaultyFs, Killed, snapshot
from model_checkpoint.testing.storage_samples import Opener, contents, payload

ForgetfulFs = runpy.run_path(str(Path(__file__).with_name("power_cut.py")))["ForgetfulFs"]
WRITER = Path(__file__).with_name("endless_writer.py")
KILLS = 300 if os.environ.get("MCE_FULL") else 25
Change = Callable[[StorageBackend], object]
CHANGES: dict[str, Change] = {
    "write": lambda backend: backend.write(payload("changing", seed=2)),
    "forget": lambda backend: backend.forget("changing"),
    "collect": lambda backend: backend.collect(),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


def prepare(root: Path, open_backend: Opener, change: str) -> None:
    """Write what was there before the change."""
    backend = open_backend(root, FsOps())
    backend.write(payload("earlier", seed=1))
    if change == "forget":
        backend.write(payload("changing", seed=2))
    if change == "collect":
        leave_rubbish(root, open_backend)
    backend.close()


def leave_rubbish(root: Path, open_backend: Opener) -> None:
    """Die twice in the middle of a write: once while the data is written, once when its name is published."""
    for name in ("create", "link"):
        fs = FaultyFs()
        dying = open_backend(root, fs)
        fs.arm(after=0, fault=Killed(), before=False, lasting=True, only={name})
        with pytest.raises(Killed):
            dying.write(payload(f"rubbish-{name}"))
        fs.bury()


def crash(backend: StorageBackend, fs: FaultyFs, change: str, after: int, before: bool) -> bool:
    """Let the process end at one call of the change; return whether there was such a call."""
    fs.arm(after=after, fault=Killed(), before=before, lasting=True)
    with contextlib.suppress(Killed):
        CHANGES[change](backend)
    fs.bury()
    return fs.fired


def check_whole_or_absent(root: Path, open_backend: Opener, change: str) -> bool:
    """See that a fresh backend finds everything whole, can clean up, and can write the id; return if it was there."""
    backend = open_backend(root, FsOps())
    assert contents(backend.read("earlier")) == contents(payload("earlier", seed=1))
    present = "changing" in set(backend.list_ids())
    if present:
        assert contents(backend.read("changing")) == contents(payload("changing", seed=2))
        assert backend.verify("changing").ok
    else:
        for call in (backend.read, backend.verify, backend.forget, backend.file_path):
            with pytest.raises(CheckpointNotFoundError):
                call("changing")
    backend.collect()
    known = {"earlier", "changing"} if present else {"earlier"}
    assert set(backend.list_ids()) == known
    backend.close()
    left = {path for path in snapshot(root) if not any(f"/{name}." in path for name in known)}
    assert left == set(), "something stray is left"
    if not present:
        backend.write(payload("changing", seed=2))
    assert contents(backend.read("changing")) == contents(payload("changing", seed=2))
    backend.close()
    return present


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("open_backend", [open_safetensors, open_pytorch])
def test_a_process_that_ends_at_any_call_leaves_all_or_nothing(change: str, open_backend: Opener, folder: Path) -> None:
    outcomes = []
    for moment in itertools.count():
        after, before = moment // 2, moment % 2 == 0
        root = folder / f"{after}-{before}"
        prepare(root, open_backend, change)
        fs = FaultyFs()
        if not crash(open_backend(root, fs), fs, change, after, before):
            break
        outcomes.append(check_whole_or_absent(root, open_backend, change))
    assert len(outcomes) > 20
    expected = {"write": [False, True], "forget": [True, False], "collect": [False]}[change]
    assert [present for present, _ in itertools.groupby(outcomes)] == expected, "there is one moment of commitment"


def test_a_write_of_the_same_id_right_after_a_crash_needs_no_collection(folder: Path) -> None:
    for after in itertools.count():
        root = folder / str(after)
        prepare(root, open_safetensors, "write")
        fs = FaultyFs()
        if not crash(open_safetensors(root, fs), fs, "write", after, before=False):
            break
        backend = open_safetensors(root, FsOps())
        if "changing" not in set(backend.list_ids()):
            backend.write(payload("changing", seed=7))
            assert contents(backend.read("changing")) == contents(payload("changing", seed=7))
        backend.close()
        left = {path for path in snapshot(root) if path.startswith("tmp/")}
        assert left == set() or "changing" in set(open_safetensors(root, FsOps()).list_ids())


@pytest.mark.parametrize("change", ["write", "forget"])
def test_a_power_cut_at_any_call_loses_nothing_that_was_acknowledged(change: str, folder: Path) -> None:
    cases = itertools.count()

    def one(after: int, choice: int, contents: bool) -> tuple[bool, int, bool]:
        """Cut the power at one call and forget the names of one set of folders."""
        case = folder / str(next(cases))
        (case / "attic").mkdir(parents=True)
        root = case / "store"
        prepare(root, open_safetensors, change)
        fs = ForgetfulFs(case / "attic")
        fired = crash(open_safetensors(root, fs), fs, change, after, before=False)
        outcomes = list(fs.outcomes())
        fs.cut(outcomes[choice], contents=contents)
        present = check_whole_or_absent(root, open_safetensors, change)
        return fired, len(outcomes), present

    for after in itertools.count():
        choice, number = 0, 1
        while choice < number:
            for lost in (True, False):
                fired, number, present = one(after, choice, lost)
                if not fired:  # the change was acknowledged
                    assert present is (change == "write")
            choice += 1
        if not fired:
            break
    assert next(cases) > 50


def test_killed_writers_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("MCE_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: MCE_SEED={seed} repeats this run")
    chosen = random.Random(seed)
    root, said = tmp_path / "store", tmp_path / "said"
    for number in range(KILLS):
        with said.open("a") as output:
            command = [sys.executable, str(WRITER), str(root), str(number)]
            writers = [subprocess.Popen([*command, str(n)], stdout=output) for n in range(2)]
        wait_for_lines(said, said.read_text().count("\n") + 4)
        time.sleep(chosen.random() * 0.05)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        assert [writer.wait(30) for writer in writers] == [-signal.SIGKILL] * 2
    lines = [line.split(" ") for line in said.read_text().splitlines()]
    written = {name for word, name in lines if word == "written"}
    forgetting = {name for word, name in lines if word == "forgetting"}
    assert len(written) == sum(word == "written" for word, _ in lines), "an id was acknowledged twice"

    backend = open_safetensors(root, FsOps())
    backend.collect()
    present = set(backend.list_ids())
    assert written - forgetting <= present
    assert len(present - written) <= 2 * KILLS, "each of the killed had at most one that it could not speak of"
    for name in present:
        found = contents(backend.read(name))
        assert found in [contents(payload(name, seed=n)) for n in range(2)]
        assert name.startswith("shared") or found == contents(payload(name, seed=int(name.split("-")[2])))
    backend.close()
    assert {path for path in snapshot(root) if path.startswith("tmp/")} == set()
    assert len(snapshot(root)) == 2 * len(present)


def wait_for_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while path.read_text().count("\n") < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
