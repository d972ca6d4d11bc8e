"""What one process uses does not grow with the saves and loads it has done, nor with those that failed."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import StorageError
from model_checkpoint.storage.vault.collect import Collector
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.testing.faulty_fs import FaultyFs
from model_checkpoint.testing.storage_samples import buffer, contents, payload

Tidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))
made = Tidy["made"]
LOOP = """
import gc, os, sys
from dataclasses import replace
from pathlib import Path
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.testing.storage_samples import buffer, contents, payload

def used():
    gc.collect()
    status = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]
    maps = Path("/proc/self/maps").read_text().count(chr(10))
    return len(os.listdir("/proc/self/fd")), maps, int(status) * 1024

store = open_vault(Path(sys.argv[1]), FsOps())
frozen = buffer("frozen", "float32", (4, 1024), seed=1)
for number in range(1100):
    if number == 100:
        before = used()
    one = payload(f"c{number}", seed=number)
    one = replace(one, buffers=(*one.buffers, frozen))
    store.write(one)
    assert contents(store.read(one.checkpoint_id, depth="fast")) == contents(one)
    if number % 10 == 9:
        assert store.verify(one.checkpoint_id).ok
        store.forget(f"c{number - 9}")
    if number % 50 == 49:
        store.collect()
after = used()
print(*(late - early for early, late in zip(before, after)))
store.close()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a collection wait for no save any longer than a save takes here."""
    monkeypatch.setattr(Collector.__init__, "__defaults__", (0.1,))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells")
def test_a_thousand_saves_and_loads_use_no_more_than_a_hundred(folder: Path) -> None:
    """In a process of its own: what other tests left would count too."""
    command = [sys.executable, "-c", LOOP, str(folder / "store")]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=200, text=True)
    descriptors, mappings, nbytes = map(int, told.stdout.split())
    print(f"{descriptors} descriptors, {mappings} mappings, {nbytes} bytes")
    assert descriptors <= 1
    assert mappings <= 2
    assert nbytes <= 16 * 1024 * 1024


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells")
@pytest.mark.parametrize("change", ["write", "read", "forget", "collect", "restore"])
def test_a_change_that_fails_at_any_call_leaves_no_descriptor_open(change: str, folder: Path) -> None:
    leaking, whole = [], folder / "whole"
    store = open_vault(whole, FsOps())
    for name, letters in {"old": "ABC", "one": "CD", "gone": "E"}.items():
        store.write(made(name, letters))
    store.forget("gone")
    if change == "collect":
        store.forget("old")
    store.close()
    for at in range(500):
        root = Path(shutil.copytree(whole, folder / "store"))
        before = descriptors()
        fs = FaultyFs()
        store = open_vault(root, fs)
        fs.arm(after=at, fault=OSError(errno.EIO, "as told"))
        with contextlib.suppress(StorageError):
            {
                "write": lambda store=store: store.write(made("new", "AXY")),
                "read": lambda store=store: store.read("one"),
                "forget": lambda store=store: store.forget("one"),
                "collect": store.collect,
                "restore": lambda store=store: store.restore("gone"),
            }[change]()
        store.close()
        fs.disarm()  # the error and all that its traceback holds
        if descriptors() > before:
            leaking.append((at, fs.log[at]))
        fs.bury()
        shutil.rmtree(root)
        if not fs.fired:
            break
    assert at > 3
    assert leaking == [], "a descriptor stays open after a failure of these calls"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells")
def test_a_closed_store_holds_nothing(folder: Path) -> None:
    before = descriptors()
    for number in range(20):
        store = open_vault(folder / "store", FsOps())
        store.write(payload(f"c{number}", seed=number))
        found = store.read(f"c{number}")
        store.collect()
        store.close()
        assert contents(found) == contents(payload(f"c{number}", seed=number))
    del found
    assert descriptors() == before


def test_what_was_read_lives_on_when_the_store_is_gone(folder: Path) -> None:
    store = open_vault(folder / "store", FsOps())
    big = buffer("big", "float32", (256, 1024), seed=3)
    one = payload("one")
    store.write(type(one)("one", one.tree, (big,), one.metadata))
    kept = [store.read("one") for _ in range(50)]
    store.forget("one")
    store.collect()
    store.close()
    shutil.rmtree(folder / "store")
    assert all(bytes(each.buffers[0].data) == bytes(big.data) for each in kept)


MANY = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.testing.storage_samples import buffer, contents, payload

store = open_vault(Path(sys.argv[1]), FsOps())
one = payload("all")
buffers = [buffer(f"layer.{number}", "int32", (3, 3), seed=number) for number in range(200)]
for number, each in enumerate(buffers):
    store.write(replace(one, checkpoint_id=f"c{number}", tree={"objects": {}}, buffers=(each,)))
one = replace(one, tree={"objects": {}}, buffers=tuple(buffers))
store.write(one)
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
assert store.verify("all").ok, store.verify("all").bad_parts[:2]
assert contents(store.read("all")) == contents(one)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_checkpoint_in_more_packs_than_a_process_may_open_files_is_read(folder: Path) -> None:
    """As after hundreds of saves that each changed a little; 1024 is a common limit, here it is 128."""
    told = subprocess.run(
        [sys.executable, "-c", MANY, str(folder / "store")], stderr=subprocess.PIPE, timeout=200, text=True, check=False
    )
    assert told.returncode == 0, told.stderr[-600:]
