"""What a run ran on: code, packages, machine. Read once per process, without starting any other process."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_checkpoint.contracts import JSON


@functools.cache
def environment() -> dict[str, JSON]:
    """Return the environment for a run's record. No environment variables, no arguments: they hold secrets."""
    import platform
    import socket

    return {
        "python": platform.python_version(),
        "platform": "-".join((platform.system(), platform.release(), platform.machine())),  # platform() starts uname
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "script": Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "",
        "git_commit": git_commit(),
        "packages": dict(_packages()),
    }


def _packages() -> list[tuple[str, str]]:
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    for distribution in distributions():
        try:
            name, version = distribution.name, distribution.version
        except (OSError, ValueError, KeyError):  # what an uninstall left behind, or metadata that is not UTF-8
            continue
        if name:
            found.setdefault(name, version)
    return sorted(found.items())


def git_commit(start: Path | None = None) -> str | None:
    """Return the commit that the working tree around `start` has checked out, or None outside a repository."""
    try:
        start = start or Path.cwd()
    except FileNotFoundError:  # the working directory was removed
        return None
    for folder in (start, *start.parents):
        git = folder / ".git"
        try:
            if git.is_file():  # a worktree or submodule: "gitdir: PATH"
                git = (folder / git.read_text().removeprefix("gitdir:").strip()).resolve()
            if not git.is_dir():
                continue
            return _commit_of_head(git)
        except (OSError, UnicodeDecodeError):
            return None
    return None


def _commit_of_head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head
    ref = head.removeprefix("ref:").strip()
    common = git / "commondir"
    root = (git / common.read_text().strip()).resolve() if common.is_file() else git
    for base in (git, root):
        if (base / ref).is_file():
            return (base / ref).read_text().strip()
    packed = root / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {ref}")), None)
