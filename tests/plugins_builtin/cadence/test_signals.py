"""Signals are heard at once, a second one means what it always did, and nothing of it is left behind.

Real processes, which are sent real signals; most of them while their main thread is in one operation of torch.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_checkpoint.cadence import SignalWatch
from model_checkpoint.errors import ConfigurationError, KernelError

PROGRAMS = Path(__file__).with_name("signal_programs.py")


class Process:
    """One of the programs, and what it says."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, str(PROGRAMS), name]
        self.started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[tuple[float, str]] = []

    def until(self, begins: str) -> str:
        """Read until a line that begins so, and return the rest of it."""
        assert self.started.stdout is not None
        for line in self.started.stdout:
            when, _, said = line.rstrip("\n").partition(" ")
            self.lines.append((float(when), said))
            if said.startswith(begins):
                return said.removeprefix(begins).strip()
        raise AssertionError(f"it never said {begins!r}: {self.lines}")

    def kill(self, signum: int, *, after_s: float = 0.0) -> float:
        """Send a signal and return when."""
        time.sleep(after_s)
        self.started.send_signal(signum)
        return time.monotonic()

    def end(self) -> int:
        """Wait for its end and return the exit status, negative where a signal was it."""
        rest, self.errors = self.started.communicate(timeout=60)
        for line in rest.splitlines():
            when, _, said = line.partition(" ")
            self.lines.append((float(when), said))
        return self.started.returncode

    def when(self, begins: str) -> float:
        """Return when it said so first."""
        return next(when for when, said in self.lines if said.startswith(begins))

    @property
    def said(self) -> list[str]:
        return [said for _, said in self.lines]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Leave the signals of this process as they were."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    assert {number: signal.getsignal(number) for number in numbers} == before
    assert signal.set_wakeup_fd(-1) == -1
    assert "mce-signals" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_is_heard_while_torch_is_at_work(signum: signal.Signals) -> None:
    process = Process("in_one_long_operation")
    process.until("busy")
    sent_s = process.kill(signum, after_s=0.2)

    assert process.end() == 0, process.errors
    assert process.said == ["busy", f"heard {signum.name} 20", "done", "end"]
    assert process.when("heard") - sent_s < (process.when("done") - sent_s) / 2


def test_a_second_sigterm_kills_at_once_while_torch_is_at_work() -> None:
    process = Process("in_one_long_operation")
    process.until("busy")
    process.kill(signal.SIGTERM)
    process.until("heard SIGTERM")
    process.kill(signal.SIGTERM)

    assert process.end() == -signal.SIGTERM
    assert "done" not in process.said


def test_two_signals_at_once_kill_too() -> None:
    assert Process("two_at_once").end() == -signal.SIGTERM


def test_a_handler_of_the_script_is_called_where_it_would_have_been() -> None:
    process = Process("a_user_handler")
    process.until("busy")
    process.kill(signal.SIGTERM)
    process.until("heard SIGTERM")
    process.kill(signal.SIGTERM)

    assert process.end() == 0
    assert process.said == ["busy", "heard SIGTERM 30", "the script's own 15", "done", "end"]


def test_the_first_ctrl_c_interrupts_nothing_and_the_second_one_does() -> None:
    process = Process("keyboard")
    process.until("busy")
    process.kill(signal.SIGINT)
    process.until("heard SIGINT")
    time.sleep(0.2)
    assert process.started.poll() is None
    process.kill(signal.SIGINT)

    assert process.end() == 0
    assert process.said == ["busy", "heard SIGINT 30", "interrupted"]


def test_a_forked_child_has_the_former_handlers_and_its_parent_hears_nothing_of_its_signals() -> None:
    process = Process("forked_child")
    child = int(process.until("child"))
    os.kill(child, signal.SIGTERM)

    assert process.end() == 0
    assert process.said[1:] == ["child ended by 15", "threads 2", "heard SIGTERM 30", "end"]


def test_workers_of_a_data_loader_do_not_act_and_die_of_their_signals() -> None:
    process = Process("data_loader_workers")

    assert process.end() == 0, process.errors
    assert process.said == ["worker True", "a worker died", "end"]


def test_what_fails_then_does_not_keep_the_next_signal_from_being_heard() -> None:
    process = Process("raising")
    process.until("busy")
    process.kill(signal.SIGTERM)
    process.until("heard SIGTERM")
    process.kill(signal.SIGUSR1)

    assert process.end() == 0
    assert process.said[-2:] == ["heard SIGUSR1 30", "end"]
    assert "RuntimeError: no" in process.errors


def test_a_signal_that_was_answered_can_come_again() -> None:
    process = Process("asked_for_twice")

    assert process.end() == 0
    assert process.said == [*["heard SIGUSR1 30"] * 3, "end"]


def test_elsewhere_than_in_the_main_thread_it_says_so() -> None:
    caught: list[BaseException] = []

    def begin() -> None:
        try:
            SignalWatch(["SIGTERM"], lambda signum, deadline_s: None)
        except KernelError as error:
            caught.append(error)

    thread = threading.Thread(target=begin, name="loader")
    thread.start()
    thread.join()

    assert "watched from the main thread, and this is 'loader'" in str(caught[0])


def test_a_signal_that_is_ignored_is_left_alone(handlers: None) -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    watch = SignalWatch(["SIGUSR1", "SIGUSR2"], lambda signum, deadline_s: None)
    try:
        assert watch.watched == ("SIGUSR2",)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        watch.close()
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_was_put_in_front_stays(handlers: None) -> None:
    watch = SignalWatch(["SIGUSR1"], lambda signum, deadline_s: None)
    theirs = signal.signal(signal.SIGUSR1, lambda signum, frame: None)
    watch.close()
    assert signal.getsignal(signal.SIGUSR1) is not theirs
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_closing_twice_does_nothing(handlers: None) -> None:
    watch = SignalWatch(["SIGUSR1"], lambda signum, deadline_s: None)
    watch.close()
    watch.close()


def test_a_signal_that_this_system_lacks_is_refused_and_nothing_is_left(handlers: None) -> None:
    with pytest.raises(ConfigurationError, match="no signal 'SIGNAL'"):
        SignalWatch(["SIGTERM", "SIGNAL"], lambda signum, deadline_s: None)


def test_two_watches_hear_the_same_signal_and_are_closed_in_either_order(handlers: None) -> None:
    for order in ([0, 1], [1, 0]):
        heard: list[str] = []
        both = threading.Semaphore(0)

        def note(name: str, heard: list[str] = heard, both: threading.Semaphore = both) -> None:
            heard.append(name)
            both.release()

        watches = [SignalWatch(["SIGUSR1"], lambda s, d, name=name: note(name)) for name in ("first", "second")]  # type: ignore[misc]
        os.kill(os.getpid(), signal.SIGUSR1)
        assert both.acquire(timeout=5)
        assert both.acquire(timeout=5)
        assert sorted(heard) == ["first", "second"]
        for number in order:
            watches[number].close()
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_the_wakeup_of_an_event_loop_goes_on(handlers: None) -> None:
    async def main() -> tuple[bool, bool]:
        loop, theirs, ours = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        loop.add_signal_handler(signal.SIGUSR2, theirs.set)
        watch = SignalWatch(["SIGUSR1"], lambda signum, deadline_s: ours.set())
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(theirs.wait(), 5)
        heard = ours.wait(5)
        watch.close()
        loop.remove_signal_handler(signal.SIGUSR2)
        return theirs.is_set(), heard

    assert asyncio.run(main()) == (True, True)


def test_a_signal_is_heard_after_somebody_else_took_the_wakeup(handlers: None) -> None:
    heard = threading.Event()
    watch = SignalWatch(["SIGUSR1"], lambda signum, deadline_s: heard.set())
    signal.set_wakeup_fd(-1)
    os.kill(os.getpid(), signal.SIGUSR1)

    assert heard.wait(5)
    watch.close()


def test_a_former_wakeup_whose_number_is_another_file_now_is_not_written_to(handlers: None, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    heard = threading.Event()
    watch = SignalWatch(["SIGUSR1"], lambda signum, deadline_s: heard.set())
    os.close(writer)
    file = os.open(tmp_path / "checkpoint", os.O_CREAT | os.O_WRONLY)
    try:
        assert os.dup2(file, writer) == writer
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard.wait(5)
        watch.close()
        assert (tmp_path / "checkpoint").read_bytes() == b""
    finally:
        for descriptor in {reader, writer, file}:
            os.close(descriptor)
