"""A training that is told to end while torch is at work: what is staged becomes durable, then it saves and stops."""

from __future__ import annotations

import runpy
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.cadence import Cadence, parse, plugin
from model_checkpoint.errors import KernelError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

HERE = Path(__file__).parent
SIGNALS: dict[str, Any] = runpy.run_path(str(HERE / "test_signals.py"))
PLUGINS = ["vault", "memory", "sqlite", "numpy", "torch", "state-dict", "codecs", "metrics"]


def training(folder: Path, grace_s: float) -> Any:
    process = SIGNALS["Process"].__new__(SIGNALS["Process"])
    command = [sys.executable, str(HERE / "preempted_training.py"), str(folder), str(grace_s)]
    process.started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.lines = []
    return process


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    with Kernel.open("sqlite:///:memory:", storage_backend="memory", plugins=PLUGINS, quiet=True) as opened:
        yield opened


def test_what_is_staged_is_durable_before_torch_is_done_and_then_the_training_saves_and_stops(tmp_path: Path) -> None:
    process = training(tmp_path, 20.0)
    process.until("busy")
    process.kill(signal.SIGTERM, after_s=0.1)

    assert process.end() == 0, process.errors
    told = next(line for line in process.said if "SIGTERM: " in line)
    written = next(line for line in process.said if "is written" in line)
    assert told.startswith("WARNING SIGTERM: the training is to save and end at its next step")
    assert written.startswith("WARNING checkpoint demo-s000001-")
    assert process.when(written) < process.when("done")
    saving = next(line for line in process.said if line.startswith("saving 2"))
    assert saving.startswith("saving 2 on-signal: SIGTERM, 1")  # so many seconds are left
    assert process.said[-1] == "stopped 2"
    with Kernel.open(f"sqlite:///{tmp_path}/experiments.db", plugins=PLUGINS, quiet=True) as kernel:
        assert [record.step for record in kernel.query("run = 'demo'")] == [2, 1]
        assert kernel.load("latest")["w"] == 2


def test_after_the_deadline_it_waits_no_longer_and_says_so(tmp_path: Path) -> None:
    process = training(tmp_path, 0.2)
    process.until("busy")
    process.kill(signal.SIGTERM)

    assert process.end() == 0, process.errors
    late = next(line for line in process.said if line.startswith("ERROR"))
    assert late.endswith("is not durable yet, and the time after the signal is over")


def test_a_kill_after_the_second_signal_leaves_what_was_durable(tmp_path: Path) -> None:
    process = training(tmp_path, 20.0)
    process.until("busy")
    process.kill(signal.SIGTERM, after_s=0.1)
    process.until("WARNING checkpoint")  # the one that was staged is written
    process.kill(signal.SIGTERM)

    assert process.end() == -signal.SIGTERM
    assert "done" not in process.said
    with Kernel.open(f"sqlite:///{tmp_path}/experiments.db", plugins=PLUGINS, quiet=True) as kernel:
        assert [record.step for record in kernel.query("run = 'demo'")] == [1]


def test_sigusr1_asks_for_a_checkpoint_and_nothing_else() -> None:
    with parse("on-signal:SIGUSR1").begin() as cadence:
        for step in (1, 2, 3):
            signal.raise_signal(signal.SIGUSR1)
            until(lambda: cadence._signal == "SIGUSR1")
            assert cadence.should_save(step=step).urgent
        assert not cadence.should_save(step=4)
        assert not cadence.should_stop


def test_without_on_signal_no_signal_is_watched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with parse("every:5steps").begin():
        assert signal.getsignal(signal.SIGTERM) is before


def test_what_the_decision_watches_is_given_back_at_close() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    cadence = parse("last | on-signal").begin()
    assert signal.getsignal(signal.SIGTERM) != before[0]
    cadence.close()

    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_the_kernel_tells_how_long_writes_take_until_the_cadence_is_closed(kernel: Kernel) -> None:
    cadence = parse("adaptive").begin(kernel)
    kernel.hooks.register_hook("slow", lambda context: time.sleep(0.05), [HookEvent.BEFORE_DB_WRITE])
    kernel.save({"w": 1})
    cadence.close()
    kernel.save({"w": 2})

    (write_s,) = cadence._moment(None, False, None).writes_s
    assert write_s >= 0.05


def test_a_kernel_reads_expressions_with_the_kinds_of_all_plugins(kernel: Kernel) -> None:
    kernel.plugins.add(plugin)
    expression: Any = kernel.plugins.provided.others["register_save_decisions"].get("expression")

    assert expression.create("last | every:5steps") == parse("last | every:5steps")


def test_begun_elsewhere_than_in_the_main_thread_it_says_so() -> None:
    import threading

    caught: list[BaseException] = []

    def begin() -> None:
        try:
            parse("on-signal").begin()
        except KernelError as error:
            caught.append(error)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    assert "leave on-signal out" in str(caught[0])


def test_without_an_end_of_the_job_before_limit_says_that_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_JOB_END_TIME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.warns(UserWarning, match="write the time that the training has, as in before-limit:5m,limit=4h"):
        parse("before-limit:5m").begin().close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse("before-limit:5m,limit=4h").begin().close()


def test_the_end_of_the_job_is_in_the_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 200))
    cadence: Cadence = parse("before-limit:5m").begin()

    assert cadence.should_save(step=1).urgent
    assert not cadence.should_save(step=2)


def until(holds: Any) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)
