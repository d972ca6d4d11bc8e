"""What ``mce doctor`` looks at, each check alone: one that fails is a finding, and the others go on."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from model_checkpoint.cli import notices
from model_checkpoint.cli.file_systems import NETWORK, existing, kind_of
from model_checkpoint.cli.in_force import stands, unmet
from model_checkpoint.cli.output import size
from model_checkpoint.cli.place import Place, database_file
from model_checkpoint.errors import CheckpointEngineError, CheckpointNotFoundError
from model_checkpoint.kernel import KERNEL_API

if TYPE_CHECKING:
    from model_checkpoint.kernel import Kernel

_LIBRARIES = ("numpy", "sqlalchemy", "safetensors", "pluggy", "dynaconf", "pydantic", "click")
LITTLE_NBYTES = 1_000_000_000
_KNOWN = ("active", "disabled", "deactivated")


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Verdict
    found: str


def examine(place: Place) -> Iterator[Finding]:
    """Yield what each check finds, those that need nothing first."""
    yield from _versions()
    try:
        kernel = place.prepare()
    except CheckpointEngineError as error:
        yield Finding("settings", Verdict.PROBLEM, str(error))
        return
    with kernel:
        for check in (_plugins, _settings, _disk):
            yield from check(kernel)
        yield from _store(kernel, place)


def _versions() -> Iterator[Finding]:
    told = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    yield Finding("python", Verdict.OK if sys.version_info >= (3, 11) else Verdict.PROBLEM, told)
    engine = _version("model-checkpoint-engine") or "not installed"
    yield Finding("engine", Verdict.OK, f"{engine}, kernel API {KERNEL_API}")
    torch = _version("torch")
    missing = "not installed: pip install 'model-checkpoint-engine[torch]' to save PyTorch models"
    yield Finding("torch", Verdict.OK if torch else Verdict.WARNING, torch or missing)
    yield Finding("libraries", Verdict.OK, ", ".join(f"{name} {_version(name) or 'none'}" for name in _LIBRARIES))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _settings(kernel: Kernel) -> Iterator[Finding]:
    loaded = kernel.settings.loaded
    files = ", ".join(map(str, loaded.files)) or "no file; defaults and MCE_* variables"
    yield Finding("settings", Verdict.OK, files)
    for warning in loaded.warnings:
        yield Finding("settings", Verdict.WARNING, str(warning))
    for problem in unmet(kernel):
        yield Finding("settings", Verdict.PROBLEM, problem)


def _plugins(kernel: Kernel) -> Iterator[Finding]:
    with notices.held_back():  # what is wrong with one is a finding
        for each in kernel.plugins.list():
            if each.state == "registered":
                kernel.plugins.activate(each.name)
    infos = kernel.plugins.list()
    usable = sum(each.state == "active" for each in infos)
    yield Finding("plugins", Verdict.OK, f"{usable} of {len(infos)} can be used")
    for each in infos:
        if each.state not in _KNOWN:
            yield Finding("plugins", Verdict.PROBLEM, f"{each.name} {stands(each.state)}: {each.error}")
    for name in kernel.plugins.left_disabled():
        told = f"{name}: disabled, not installed: 'mce plugins enable {name}' forgets it"
        yield Finding("plugins", Verdict.WARNING, told)


def _disk(kernel: Kernel) -> Iterator[Finding]:
    folder = kernel.config.storage.checkpoint_dir
    here = existing(folder)
    try:
        free = shutil.disk_usage(here).free
    except OSError as error:
        yield Finding("disk", Verdict.PROBLEM, f"{here} cannot be looked at: {error}")
        return
    little = "" if free >= LITTLE_NBYTES else ": little for checkpoints; free some, or choose another --checkpoint-dir"
    yield Finding("disk", Verdict.WARNING if little else Verdict.OK, f"{size(free)} free for {folder}{little}")
    kind = kind_of(here)
    if kind in NETWORK:
        text = (
            f"{folder} is on a network file system ({kind}): a save is as durable as the server makes it, and two"
            " machines must not write to one store where locks are not shared"
        )
        yield Finding("file system", Verdict.WARNING, text)
    elif kind:
        yield Finding("file system", Verdict.OK, kind)
    file = database_file(kernel.config.database.url)
    if file is not None and (shared := kind_of(existing(file))) in NETWORK:
        text = f"{file} is on a network file system ({shared}): SQLite is slower and less safe there than on a disk"
        yield Finding("file system", Verdict.WARNING, text)


def _store(kernel: Kernel, place: Place) -> Iterator[Finding]:
    shown = kernel.config.database.shown
    try:
        place.check(kernel)
    except CheckpointNotFoundError as error:
        lost = kernel.config.storage.checkpoint_dir.is_dir()
        text = str(error) if lost else f"there is none yet: {shown}"
        yield Finding("database", Verdict.PROBLEM if lost else Verdict.OK, text)
        return
    try:
        opened = place.open()
    except CheckpointEngineError as error:
        yield Finding("database", Verdict.PROBLEM, str(error))
        return
    with opened:
        yield Finding("database", Verdict.OK, f"{shown} can be reached")
        yield from _reported("store", lambda: _health(opened))


def _health(kernel: Kernel) -> Iterator[Finding]:
    report = kernel.check_store(depth="header")
    told = f"{len(report.verified)} checkpoints have their files and structure; 'mce verify' reads every byte"
    yield Finding("store", Verdict.OK, told)
    for checkpoint_id, parts in report.damaged.items():
        yield Finding("store", Verdict.PROBLEM, f"{checkpoint_id} is damaged: {'; '.join(parts)}")
    for checkpoint_id in report.missing:
        yield Finding("store", Verdict.PROBLEM, f"{checkpoint_id} is recorded, and not stored")
    for backend, count in report.unavailable.items():
        told = f"{count} checkpoints are stored by {backend!r}, which is not available: not checked"
        yield Finding("store", Verdict.WARNING, told)
    if report.unrecorded:
        text = f"{len(report.unrecorded)} are stored, and not recorded: 'mce store rebuild' records them"
        yield Finding("store", Verdict.WARNING, text)
    if kernel.awaits_confirmation:
        yield Finding("store", Verdict.WARNING, "records were rebuilt: confirm by 'mce store rebuild --confirm'")


def _reported(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except CheckpointEngineError as error:
        yield Finding(check, Verdict.PROBLEM, str(error))
