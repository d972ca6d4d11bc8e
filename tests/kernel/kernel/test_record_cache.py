"""Small questions about records are answered from memory, and never with what somebody has changed since."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model_checkpoint.kernel import Kernel
from model_checkpoint.kernel.record_cache import CachedRecords


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/e.db"


def cache_of(kernel: Kernel) -> CachedRecords:
    cache = kernel.records._store
    assert isinstance(cache, CachedRecords)
    return cache


def hits(kernel: Kernel) -> int:
    return cache_of(kernel).counts()["hits"]


def test_asking_again_is_answered_from_memory(url: str) -> None:
    with Kernel.open(url, storage_backend="memory", quiet=True) as kernel:
        saved = kernel.save({"w": 1}, metrics={"val_loss": 0.5}, tags=["a"])
        asks = [
            lambda: kernel.best("val_loss"),
            lambda: kernel.checkpoint("latest"),
            lambda: kernel.checkpoint("tag:a"),
        ]
        asks += [lambda: kernel.checkpoint(saved)]
        first = [ask() for ask in asks]
        before = hits(kernel)
        assert [ask() for ask in asks] == first
        assert hits(kernel) >= before + len(asks)


def test_what_another_process_changes_is_seen_at_once(url: str, tmp_path: Path) -> None:
    program = (
        "import sys; from model_checkpoint.kernel import Kernel\n"
        "with Kernel.open(sys.argv[1], storage_backend='memory', quiet=True) as kernel:\n"
        "    for line in sys.stdin:\n"
        "        kernel.tag(line.strip(), ['touched'])\n"
        "        print('done', flush=True)\n"
    )
    with Kernel.open(url, storage_backend="memory", quiet=True) as kernel:
        ids = [kernel.save({"w": n}, step=n) for n in range(5)]
        other = subprocess.Popen(
            [sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdin is not None
        assert other.stdout is not None
        for each in ids:
            assert kernel.checkpoint(each).tags == {}
            other.stdin.write(f"{each}\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"
            assert kernel.checkpoint(each).tags == {"touched": ""}
        other.stdin.close()
        assert other.wait(30) == 0
        other.stdout.close()


def test_what_this_process_changes_is_seen_at_once_by_every_thread(url: str) -> None:
    wrong: list[str] = []
    with Kernel.open(url, storage_backend="memory", quiet=True) as kernel:
        saved = [kernel.save({"w": 0}, step=0)]
        stop = threading.Event()

        def look() -> None:
            while not stop.is_set():
                expected = saved[-1]  # it was acknowledged before we asked
                newest = kernel.checkpoint("latest")
                if newest.step is not None and newest.step < saved.index(expected):
                    wrong.append(newest.id)

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for step in range(1, 40):
            saved += [kernel.save({"w": step}, step=step)]
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_forked_child_asks_anew(url: str) -> None:
    with Kernel.open(url, storage_backend="memory", quiet=True) as kernel:
        saved = kernel.save({"w": 1})
        kernel.checkpoint(saved)
        child = os.fork()
        if child == 0:
            found = kernel.records.get_checkpoint(saved)
            os._exit(0 if found is not None and found.id == saved else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_long_lists_are_not_kept_and_given_lists_are_the_caller_s_own(url: str) -> None:
    with Kernel.open(url, storage_backend="memory", quiet=True) as kernel:
        kernel.save({"w": 1})
        kernel.records.list_checkpoints(limit=5).clear()
        assert len(kernel.records.list_checkpoints(limit=5)) == 1
        before = cache_of(kernel).counts()
        kernel.records.list_checkpoints()
        kernel.records.list_checkpoints(limit=1000)
        assert cache_of(kernel).counts() == before


def test_a_database_in_memory_is_always_asked() -> None:
    with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
        saved = kernel.save({"w": 1})
        kernel.checkpoint(saved)
        kernel.checkpoint(saved)
        assert cache_of(kernel).counts() == {"hits": 0, "misses": 0}
