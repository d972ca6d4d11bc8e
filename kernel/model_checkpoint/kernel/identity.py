"""Which run a process belongs to, and the lock that says it is alive.

A run is named by the caller, else by ``MCE_RUN``, else by the job that the process is part of. Without any of these a
process that resumes takes the newest unfinished run of its experiment that no other process holds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from model_checkpoint.common.fsops import FsOps, typed_errors
from model_checkpoint.common.ids import checked_name, slug

LOCK = "lock"
START_TIMEOUT_S = 60.0
_log = logging.getLogger("model_checkpoint")


def stated_run(experiment: str, run: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the run that the caller or the environment names, or None."""
    named = run or environ.get("MCE_RUN")
    if named:
        return checked_name(named, "a run")
    if job := environ.get("SLURM_JOB_ID"):
        array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}-{task}" if array and task else job
        return checked_name(f"{experiment}-slurm-{job}", "a run")
    elastic = environ.get("TORCHELASTIC_RUN_ID", "none")
    return checked_name(f"{experiment}-{slug(elastic)}", "a run") if elastic != "none" else None


def default_experiment() -> str:
    """Return the name of the script or package that runs, or ``default`` where there is none."""
    script = Path(sys.argv[0] if sys.argv else "")
    stem = script.parent.name if script.stem == "__main__" else script.stem  # python -m package
    return slug(stem) if stem and not stem.startswith("-") and "kernel_launcher" not in stem else "default"


@contextlib.contextmanager
def one_at_a_time(runs_root: Path, fs: FsOps) -> Iterator[None]:
    """Let one process at a time look for its run: a new run is recorded a moment before its lock is taken."""
    from filelock import FileLock, Timeout  # imports asyncio: not at the top

    with typed_errors("preparing", runs_root):
        fs.make_dirs(runs_root)
        lock = FileLock(str(runs_root / ".starting"), timeout=START_TIMEOUT_S, thread_local=False)
        try:
            lock.acquire()
        except Timeout:  # whoever holds it is stuck; unguarded is better than not at all
            _log.warning("another process has been starting a run in %s for %g s", runs_root, START_TIMEOUT_S)
    try:
        yield
    finally:
        lock.release()


class RunLock:
    """Held for as long as a process works on a run; the operating system lets go of it when the process dies.

    It is a file beside the run's pointers, or several: a run that goes on in another directory is locked in both.
    """

    def __init__(self, run_name: str, roots: Sequence[Path], fs: FsOps) -> None:
        from filelock import FileLock

        self._locks = []
        for root in roots:
            folder = root / run_name
            with typed_errors("preparing", folder):
                fs.make_dirs(folder)
            # not thread_local: the thread that ends a run need not be the one that began it
            self._locks.append(FileLock(str(folder / LOCK), timeout=0, thread_local=False))

    def take(self) -> bool:
        """Return whether this process holds the lock now."""
        from filelock import Timeout

        for lock in self._locks:
            with typed_errors("locking", Path(lock.lock_file)):
                try:
                    lock.acquire()
                except Timeout:
                    self.release()
                    return False
        return True

    def release(self) -> None:
        """Let go of it."""
        for lock in self._locks:
            lock.release()
