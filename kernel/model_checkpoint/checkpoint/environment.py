"""What a run ran on: code, packages, machine. Read once per process, without starting any other process."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_checkpoint.contracts import JSON


_DIST_INFO = ".dist-info"


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
    """Read names and versions from the names of folders: opening all the metadata takes thirty times as long."""
    found: dict[str, str] = {}
    for folder in sys.path:
        with contextlib.suppress(OSError):  # an archive, or nothing at all
            for entry in os.listdir(folder or "."):
                name, _, version = entry.removesuffix(_DIST_INFO).partition("-")
                if not entry.endswith(_DIST_INFO) or name.startswith("~"):  # the latter is what an uninstall left
                    continue
                if version and os.path.exists(os.path.join(folder, entry, "METADATA")):
                    found.setdefault(name.replace("_", "-"), version)
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
