"""When the job that this process is part of will be ended by SLURM."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime

from model_checkpoint.common.clock import now_s

_TIMEOUT_S = 10.0
_DATE = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)"


def remaining_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the seconds until the job's time limit, or None where there is no job or nobody knows."""
    end_s = end_time_s(environ)
    return None if end_s is None else max(0.0, end_s - now_s())


def end_time_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the Unix time at which the job ends: from ``SLURM_JOB_END_TIME``, else ``squeue``, else ``scontrol``."""
    stated = environ.get("SLURM_JOB_END_TIME", "")
    if stated.isdecimal() and 0 < int(stated[:20]) < 2**33:
        return float(stated)
    job = environ.get("SLURM_JOB_ID", "")
    if not job.isdecimal():
        return None
    end_s = _asked(["squeue", "--noheader", f"--jobs={job}", "--format=%e"], rf"^\s*{_DATE}\s*$", environ)
    if end_s is None:
        end_s = _asked(["scontrol", "--oneliner", "show", "job", job], rf"\bEndTime={_DATE}(?!\S)", environ)
    return end_s


def _asked(command: list[str], pattern: str, environ: Mapping[str, str]) -> float | None:
    import subprocess

    try:
        done = subprocess.run(
            command,
            env={**environ, "SLURM_TIME_FORMAT": "standard"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
        )
        found = re.search(pattern, done.stdout) if done.returncode == 0 else None
        return datetime.fromisoformat(found[1]).timestamp() if found else None
    except (OSError, subprocess.TimeoutExpired, ValueError):  # not installed, the controller is away, no such date
        return None
