"""Programs that are sent signals: ``python signal_programs.py NAME``. Each line that they print begins with a time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from model_checkpoint.cadence import SignalWatch


def say(*words: object) -> None:
    """Print, from whatever thread, in one write."""
    os.write(1, (f"{time.monotonic():.3f} " + " ".join(map(str, words)) + "\n").encode())


def heard(signum: int, deadline_s: float) -> None:
    say("heard", signal.Signals(signum).name, f"{deadline_s - time.monotonic():.0f}")


def prepared(seconds_s: float = 2.0) -> Callable[[], None]:
    """Return what multiplies matrices once, for about `seconds_s` and hardly less than half of it."""
    import torch

    torch.set_num_threads(1)
    small = torch.rand(1000, 1000)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        small @ small
        times.append(time.perf_counter() - begin)
    n = int(1000 * (seconds_s / min(times)) ** (1 / 3))
    large = torch.rand(n, n)

    def one_long_operation() -> None:
        say("busy")
        large @ large
        say("done")

    return one_long_operation


def in_one_long_operation() -> None:
    operation = prepared()
    watch = SignalWatch(["SIGTERM", "SIGINT", "SIGUSR1"], heard, grace_s=20.0)
    operation()
    watch.close()
    say("end")


def a_user_handler() -> None:
    operation = prepared()
    signal.signal(signal.SIGTERM, lambda signum, frame: say("the script's own", signum))
    watch = SignalWatch(["SIGTERM"], heard)
    operation()
    watch.close()
    say("end")


def keyboard() -> None:
    watch = SignalWatch(["SIGINT"], heard)
    try:
        say("busy")
        time.sleep(30)
    except KeyboardInterrupt:
        say("interrupted")
    watch.close()


def forked_child() -> None:
    """The child is sent a signal by its number; the parent must hear nothing of it, and its own."""
    watch = SignalWatch(["SIGTERM"], heard)
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    say("child", child)
    _, status = os.waitpid(child, 0)
    say("child ended by", -os.waitstatus_to_exitcode(status))
    say("threads", threading.active_count())
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.3)
    watch.close()
    say("end")


def data_loader_workers() -> None:
    from torch.utils.data import DataLoader, Dataset

    class Slow(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> tuple[int, bool]:
            time.sleep(0.1)
            return os.getpid(), signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL

    watch = SignalWatch(["SIGTERM", "SIGUSR1"], heard)
    batches = iter(DataLoader(Slow(), num_workers=2, multiprocessing_context="fork", batch_size=1))
    pid, default = next(batches)
    say("worker", bool(default))
    os.kill(int(pid), signal.SIGUSR1)
    try:
        for _ in batches:
            pass
    except RuntimeError:
        say("a worker died")
    watch.close()
    say("end")


def raising() -> None:
    def fail(signum: int, deadline_s: float) -> None:
        heard(signum, deadline_s)
        raise RuntimeError("no")

    watch = SignalWatch(["SIGTERM", "SIGUSR1"], fail)
    say("busy")
    time.sleep(1.5)
    watch.close()
    say("end")


def asked_for_twice() -> None:
    """After the first signal was answered, a second one is a first one again."""
    watch = SignalWatch(["SIGUSR1"], heard)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.2)
        watch.rearm(signal.SIGUSR1)
    watch.close()
    say("end")


def two_at_once() -> None:
    """Two signals of a kind, before anybody could deal with the first."""
    SignalWatch(["SIGTERM"], heard)
    say("busy")
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
