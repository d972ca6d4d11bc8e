"""What counts as a change of the files, with real files and a real observer."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_checkpoint.config import ConfigSwap
from model_checkpoint.config.watch import LONGEST_WAIT_S, ConfigWatcher, hops
from model_checkpoint.hooks import HookEvent, HookManager

QUIET_S = 0.05
SOON_S = 10.0


class Calls:
    """Counts the calls of a watcher, and waits for them."""

    def __init__(self) -> None:
        self.count, self.failing = 0, False
        self._more = threading.Condition()

    def __call__(self) -> None:
        with self._more:
            self.count += 1
            self._more.notify_all()
        if self.failing:
            raise ValueError("no")

    def reach(self, count: int) -> bool:
        with self._more:
            return self._more.wait_for(lambda: self.count >= count, SOON_S)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def watch(calls: Calls) -> Iterator[Callable[..., ConfigWatcher]]:
    made: list[ConfigWatcher] = []

    def start(*paths: Path, **options) -> ConfigWatcher:
        made.append(ConfigWatcher(paths, calls, debounce_s=QUIET_S, **options))
        assert made[-1].start()
        time.sleep(QUIET_S * 4)  # it looks once when it begins, and what follows is to be noticed by itself
        return made[-1]

    yield start
    for watcher in made:
        watcher.stop()


def nothing_comes(calls: Calls, count: int = 0) -> bool:
    time.sleep(QUIET_S * 8)
    return calls.count == count


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def renamed_over(path: Path, text: str) -> None:
    (path.parent / ".swp").write_text(text)
    os.replace(path.parent / ".swp", path)


def moved_away_first(path: Path, text: str) -> None:
    os.rename(path, f"{path}~")
    path.write_text(text)


def line_by_line(path: Path, text: str) -> None:
    with path.open("w") as file:
        for character in text:
            file.write(character)
            file.flush()


@pytest.mark.parametrize("write", [in_place, renamed_over, moved_away_first, line_by_line])
def test_however_an_editor_writes_it_is_one_change(folder, watch, calls: Calls, write: Callable[..., None]) -> None:
    path = folder.write("project", "quiet = true\n")
    watch(path)
    for number in (1, 2):
        write(path, f"quiet = false # {number}\n")
        assert calls.reach(number)
        assert nothing_comes(calls, number)


def test_a_config_map_of_kubernetes_is_swapped_without_its_file_being_named(tmp_path: Path, watch, calls) -> None:
    def mount(version: str, text: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "mce.toml").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(version)
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")

    mount("..1", "quiet = true\n")
    (tmp_path / "mce.toml").symlink_to("..data/mce.toml")
    watch(tmp_path / "mce.toml")
    for number in (2, 3):
        mount(f"..{number}", f"quiet = false # {number}\n")
        if number == 3:  # the first time, only the link tells
            (tmp_path / "..2/mce.toml").unlink()
            (tmp_path / "..2").rmdir()
        assert calls.reach(number - 1)
    assert nothing_comes(calls, 2)


def test_the_file_behind_a_link_is_watched_where_it_lies(tmp_path: Path, watch, calls: Calls) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "real/target.toml").write_text("quiet = true\n")
    (tmp_path / "mce.toml").symlink_to(tmp_path / "linked/target.toml")
    assert set(hops(tmp_path / "mce.toml")) >= {
        (str(tmp_path), "mce.toml"), (str(tmp_path), "linked"), (str(tmp_path / "real"), "target.toml")
    }  # fmt: skip
    watch(tmp_path / "mce.toml")
    (tmp_path / "real/target.toml").write_text("quiet = false\n")
    assert calls.reach(1)


def test_a_ring_of_links_is_no_endless_walk(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert (str(tmp_path), "a") in set(hops(tmp_path / "a"))


def test_a_file_that_comes_or_goes_is_a_change(folder, watch, calls: Calls) -> None:
    path = folder.file("project")
    watch(path)
    path.write_text("quiet = true\n")
    assert calls.reach(1)
    path.unlink()
    assert calls.reach(2)


def test_a_directory_that_is_replaced_is_watched_anew(tmp_path: Path, watch, calls: Calls) -> None:
    path = tmp_path / "conf/mce.toml"
    path.parent.mkdir()
    path.write_text("quiet = true\n")
    watch(path)
    path.unlink()
    path.parent.rmdir()
    path.parent.mkdir()
    path.write_text("quiet = false\n")
    assert calls.reach(1)
    time.sleep(QUIET_S * 4)
    before = calls.count
    path.write_text("quiet = true # again\n")
    assert calls.reach(before + 1)


def test_reading_touching_and_other_files_are_no_change(folder, watch, calls: Calls) -> None:
    path = folder.write("project", "quiet = true\n")
    watch(path)
    path.read_text()
    os.utime(path, (1, 1))
    path.write_text("quiet = true\n")
    folder.write("unrelated", "x = 1\n")
    assert nothing_comes(calls)


def test_what_changed_before_the_watch_began_is_noticed(folder, watch, calls: Calls) -> None:
    digest = folder.load().digest
    watch(folder.write("project", "quiet = true\n"), digest=digest)
    assert calls.reach(1)


def test_a_file_that_never_falls_quiet_is_looked_at_all_the_same(folder, watch, calls: Calls) -> None:
    path = folder.write("project", "quiet = true\n")
    watch(path)
    until = time.monotonic() + LONGEST_WAIT_S * 3
    number = 0
    while calls.count == 0 and time.monotonic() < until:
        number += 1
        renamed_over(path, f"quiet = true # {number}\n")
        time.sleep(QUIET_S / 10)
    assert calls.count > 0


def test_an_error_of_the_call_is_logged_and_the_watch_goes_on(
    folder, watch, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder.write("project", "quiet = true\n")
    calls.failing = True
    watch(path)
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            path.write_text(f"quiet = false # {number}\n")
            assert calls.reach(number)
            time.sleep(QUIET_S)
    assert "the changed configuration was not taken over: no" in caplog.text


def test_no_thread_is_left_and_stopping_twice_or_from_the_call_is_harmless(folder) -> None:
    before, open_before = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    path = folder.write("project", "quiet = true\n")
    stopped = threading.Event()
    for _ in range(3):
        watcher = ConfigWatcher([path], lambda: None, debounce_s=QUIET_S)
        assert watcher.start()
        assert all(thread.daemon for thread in set(threading.enumerate()) - before)
        watcher.stop()
        watcher.stop()
        assert set(threading.enumerate()) <= before
    own = ConfigWatcher([path], lambda: (own.stop(), stopped.set()), debounce_s=QUIET_S)
    own.start()
    path.write_text("quiet = false\n")
    assert stopped.wait(SOON_S)
    deadline = time.monotonic() + SOON_S
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before
    assert len(os.listdir("/proc/self/fd")) <= open_before + 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_no_watch_and_stops_at_once(folder, watch, calls: Calls) -> None:
    path = folder.write("project", "quiet = true\n")
    watcher = watch(path)
    child = os.fork()
    if child == 0:
        started = time.monotonic()
        watcher.stop()
        os._exit(0 if time.monotonic() - started < 1 and threading.active_count() == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    path.write_text("quiet = false\n")
    assert calls.reach(1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
def test_a_limit_of_the_system_is_a_warning_and_no_error(
    folder, calls: Calls, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from watchdog.observers.inotify import InotifyEmitter

    def full(self) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(InotifyEmitter, "on_thread_start", full)
    before = set(threading.enumerate())
    with caplog.at_level(logging.WARNING):
        assert ConfigWatcher([folder.write("project", "")], calls).start() is False
    assert os.strerror(code) in caplog.text
    assert "fs.inotify.max_user_instances and max_user_watches" in caplog.text
    assert set(threading.enumerate()) <= before


def test_three_broken_files_are_refused_and_the_fourth_comes_into_force(folder, watch) -> None:
    path = folder.write("project", '[storage]\nverify = "fast"\n')
    hooks, refused, accepted = HookManager(), Calls(), Calls()
    hooks.register_hook("refused", lambda context: refused(), HookEvent.ON_CONFIG_VALIDATION_ERROR)
    hooks.register_hook("accepted", lambda context: accepted(), HookEvent.AFTER_CONFIG_UPDATE)
    swap = ConfigSwap(folder.load(), folder.load, hooks.fire, tuple)
    watcher = ConfigWatcher([path], lambda: swap.reload("watch"), digest=swap.loaded.digest, debounce_s=QUIET_S)
    watcher.start()
    try:
        for number, content in enumerate((b'[storage]\nverify = "fu', b"", b'[storage]\nverfy = "full"\n'), start=1):
            renamed = folder.path / "new"
            renamed.write_bytes(content)
            os.replace(renamed, path)
            assert refused.reach(number)
            assert (swap.current.generation, swap.current.storage.verify) == (0, "fast")
        renamed_over(path, '[storage]\nverify = "full"\n')
        assert accepted.reach(1)
        assert (swap.current.generation, swap.current.storage.verify) == (1, "full")
    finally:
        watcher.stop()
