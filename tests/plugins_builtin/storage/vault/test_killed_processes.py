"""A process that is killed, a disk that fails, a disk that is full: at any file-system call of any change to a vault.

Afterwards everything that was acknowledged reads, the next collection leaves nothing stray, and saving goes on.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_checkpoint.errors import CheckpointNotFoundError, StorageError
from model_checkpoint.storage.vault.collect import Collector
from model_checkpoint.testing.faulty_fs import FaultyFs

IN_FULL = os.environ.get("MCE_FULL") == "1"
RUNNER = Path(__file__).with_name("dying_runs.py")
Runs = runpy.run_path(str(RUNNER))
CHANGES, prepare, check, open_store, calls = (
    Runs[name] for name in ("CHANGES", "prepare", "check", "open_store", "calls")
)
SHARE = 1.0 if IN_FULL else 0.4
"""How many of the moments are tried."""
FAULTS = {"the disk fails": errno.EIO, "the disk is full": errno.ENOSPC}
LONGEST_S = 5.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a collection wait for no save any longer than a save takes here."""
    monkeypatch.setattr(Collector.__init__, "__defaults__", (0.2,))


def seed() -> int:
    """Return the seed of this run: fixed in CI, where only the code may change the outcome, else another every time."""
    in_ci = os.environ.get("CI", "").lower() == "true"
    found = int(os.environ.get("MCE_SEED", 1 if in_ci else time.time_ns() % 1_000_000))
    print(f"seed {found}: MCE_SEED={found} repeats this run")
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_a_process_that_is_killed_at_any_call_leaves_all_or_nothing(change: str, folder: Path) -> None:
    command = [sys.executable, str(RUNNER), str(folder), change, str(SHARE), str(seed())]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=240)
    outcome = json.loads(told.stdout)
    assert outcome["failures"] == []
    assert outcome["runs"] > SHARE * 40
    assert outcome["died"] >= outcome["runs"] - 2, "the last two moments come after the end"


def one_fault(root: Path, change: str, at: int, number: int, before: bool, lasting: bool) -> str:
    """Let one call of a change fail, and perhaps all later ones; return how the change ended."""
    fs = FaultyFs()
    store = open_store(root, fs)
    fs.arm(after=at, fault=OSError(number, os.strerror(number)), before=before, lasting=lasting)
    started = time.monotonic()
    try:
        CHANGES[change](store)
        ended = "done"
    except (StorageError, CheckpointNotFoundError) as error:
        ended = type(error).__name__
    assert time.monotonic() - started < LONGEST_S
    store.close()
    fs.disarm()
    store.close()
    fs.bury()
    return ended


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_fails_at_any_call_is_an_error_of_ours_or_none(fault: str, change: str, folder: Path) -> None:
    whole, root, chosen = folder / "whole", folder / "store", random.Random(seed())
    prepare(whole, change)
    moments = [*itertools.product(range(calls(whole, root, change) + 1), (True, False), (True, False))]
    for at, before, lasting in chosen.sample(moments, round(SHARE / 2 * len(moments)) if SHARE < 1 else len(moments)):
        shutil.copytree(whole, root)
        try:
            ended = one_fault(root, change, at, FAULTS[fault], before, lasting)
            check(root, change, ended == "done")
        except BaseException as error:
            error.add_note(f"{'before' if before else 'after'} call {at}{' and from then on' if lasting else ''}")
            raise
        shutil.rmtree(root)


def test_a_collection_is_not_held_up_by_itself(folder: Path) -> None:
    """Its own intent, which it could not remove at once, is nobody's save."""
    prepare(folder / "store", "collect")
    fs = FaultyFs()
    store = open_store(folder / "store", fs)
    intents = store._intents
    fs.arm(after=0, fault=OSError(errno.EIO, "as told"), only={"unlink of an intent"})
    unlink = fs.unlink

    def fail_for_an_intent(path: Path) -> None:
        fs.step("unlink of an intent" if path.parent.name == "intents" else "other", lambda: unlink(path))

    fs.unlink = fail_for_an_intent  # type: ignore[method-assign]
    report = store.collect()
    assert fs.fired
    assert len([name for name in report.removed if name.startswith("trash/")]) >= 4, "two manifests, two packs"
    assert intents.present() == set()
    store.close()


def test_a_full_disk_that_is_emptied_needs_no_new_process(folder: Path) -> None:
    """The same store goes on where it failed."""
    for at in itertools.count():
        root = folder / str(at)
        prepare(root, "save")
        fs = FaultyFs()
        store = open_store(root, fs)
        fs.arm(after=at, fault=OSError(errno.ENOSPC, "as told"), lasting=True)
        try:
            CHANGES["save"](store)
        except StorageError:
            fs.disarm()
            if not store.holds("new"):
                CHANGES["save"](store)
        fs.disarm()
        assert store.verify("new").ok
        store.collect()
        store.close()
        fs.bury()
        check(root, "save", completed=True)
        shutil.rmtree(root)
        if not fs.fired:
            break
    assert at > 30
