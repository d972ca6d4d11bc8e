"""Which run a process belongs to, and the lock that says it is alive.

A run is named by the caller, else by ``MCE_RUN``, else by the job that the process is part of. Without any of these a
process that resumes takes the newest unfinished run of its experiment that no other process holds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from model_checkpoint.common.fsops import FsOps, typed_errors
from model_checkpoint.common.ids import checked_name, slug


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
    """Return the name of the script that runs, or ``default`` where there is none."""
    stem = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return slug(stem) if stem and not stem.startswith(("-", "__", "ipykernel")) else "default"


class RunLock:
    """Held for as long as a process works on a run; the operating system lets go of it when the process dies."""

    def __init__(self, runs_root: Path, run_name: str, fs: FsOps) -> None:
        from filelock import FileLock  # imports asyncio: not at the top

        folder = runs_root / run_name
        with typed_errors("preparing", folder):
            fs.make_dirs(folder)
        self._lock = FileLock(str(folder / "lock"), timeout=0)

    def take(self) -> bool:
        """Return whether this process holds the lock now."""
        from filelock import Timeout

        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Let go of it."""
        self._lock.release()
