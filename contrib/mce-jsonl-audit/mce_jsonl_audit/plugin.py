"""The plugin: listens to the events that the configuration names and hands each of them to the trail.

A wrapper stands around all other hooks of an event. It writes its line when they have had their say, so that the line
tells what came of it: that they agreed, or who vetoed and why. What goes wrong with the trail is counted, told once,
and never reaches the training.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mce_jsonl_audit.fields import LIVE, fields_of, text
from mce_jsonl_audit.lines import EVENT, GAP
from mce_jsonl_audit.trail import Trail, content
from model_checkpoint.common.clock import now_s
from model_checkpoint.errors import CheckpointEngineError, ConfigurationError, OperationVetoed
from model_checkpoint.hooks import Context, HookEvent, HookPriority, hookimpl
from model_checkpoint.hooks.specs import EVENTS

ALL, DEFAULT = "*", "default"
_PLAIN = frozenset({"on_system_start", "before_plugin_execute", "after_plugin_execute"})
"""Events that take no wrapper: one that is told to late-comers too, and those that fire around every hook."""
_OWN_COLUMNS = frozenset({"checkpoint_id", "run_name"})
MAX_HELD = 1000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """The section ``[plugins.jsonl-audit]``. Changes apply at the next start."""

    path: str = ""
    """The trail; ``audit.jsonl`` in the checkpoint directory unless told."""
    events: tuple[str, ...] = (DEFAULT,)
    """Names of events; ``default`` means all but the hot ones, ``*`` means all."""
    durable: bool = False
    """Make each line durable before the training goes on. Without it a power cut may take the last seconds."""
    max_file_nbytes: int = 64 * 1024 * 1024
    """Begin a new file when this one is as long; 0 for never."""
    lock_timeout_s: float = 2.0
    """How long to wait for other processes that write to the same trail."""


class AuditPlugin:
    """One kernel's part in a trail.

    Args:
        config: what holds where a script registers the plugin itself, whatever the configuration files say.
    """

    Config = AuditConfig
    name = "jsonl-audit"

    def __init__(self, config: AuditConfig | None = None) -> None:
        self._given = config
        self.lost = 0
        """Events that could not be recorded since the last one that could."""
        self.written = 0
        self._lost_since_s = 0.0
        self._reason = ""
        self._failing = False
        self._try_again_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._lock = threading.Lock()
        self._trail: Trail | None = None
        self._held: list[dict[str, Any]] = []
        """Lines of what came before the kernel was open: nothing is created before, not even where it is known."""
        self._hooks: set[str] = set()
        self.configure(AuditConfig())

    def configure(self, config: AuditConfig) -> None:
        """Take a configuration over. Raises ``ConfigurationError`` that names everything that is wrong with it."""
        config = self._given or config
        problems = [f"events: {problem}" for problem in _unknown(config.events)]
        if config.max_file_nbytes and config.max_file_nbytes < 4096:
            problems.append(f"max_file_nbytes = {config.max_file_nbytes}: at least 4096, or 0 for one file for ever")
        if not 0 < config.lock_timeout_s <= 60:
            problems.append(f"lock_timeout_s = {config.lock_timeout_s}: more than 0, at most 60")
        if problems:
            raise ConfigurationError("the audit trail cannot be kept like this:\n  - " + "\n  - ".join(problems))
        self.config, self._trail = config, None
        for event in self._hooks:
            delattr(self, event)
        self._hooks = _chosen(config.events)
        for event in self._hooks:
            setattr(self, event, self._listener(event))

    def start(self, kernel: Any, exits: contextlib.ExitStack) -> None:
        """Find the trail's place, and see to it that what could not be recorded is told at the end."""
        self._trail = self._trail_of(kernel)
        exits.callback(self.close)

    def close(self) -> None:
        """Try once more to record what was lost, and say so where even that fails."""
        if self._trail is not None and (self.lost or self._held):
            self._write(self._trail)
        if self.lost:
            _log(f"{self.lost} events are missing from the audit trail: {self._reason}")

    def _listener(self, event: str) -> Callable[..., Any]:
        """Return the hook of one event. The names of its fields are looked up when it first fires."""
        names: list[str] = []

        def record(context: Context, kernel: Any, outcome: str) -> None:
            if not names:
                own = [field.name for field in EVENTS[event].fields]
                names.extend(name for name in own if name not in LIVE and name not in _OWN_COLUMNS)
            self._record(context, kernel, names, outcome)

        def around(context: Context, kernel: Any) -> Generator[None, object, object]:
            try:
                result = yield
            except OperationVetoed as veto:
                record(context, kernel, text(f"vetoed by {veto.plugin}: {veto.reason}"))
                raise
            except BaseException as error:
                record(context, kernel, text(f"{type(error).__name__}: {error}"))
                raise
            record(context, kernel, "ok")
            return result

        def after(context: Context, kernel: Any) -> None:
            record(context, kernel, "ok")

        if event in _PLAIN:
            return hookimpl(priority=HookPriority.LOW, specname=event)(after)
        return hookimpl(priority=HookPriority.CRITICAL, specname=event, wrapper=True)(around)

    def _record(self, context: Context, kernel: Any, names: list[str], outcome: str) -> None:
        if self._failing and time.monotonic() < self._try_again_s:  # a full disk, a writer that hangs: no time is lost
            with self._lock:
                self.lost += 1
            return
        try:
            line = content(
                EVENT,
                context.get("event", ""),
                context.get("time") or now_s(),
                fields=fields_of(context, names),
                run=context.get("run_name"),
                checkpoint_id=context.get("checkpoint_id"),
                outcome=outcome,
            )
            if self._trail is None and (kernel is None or context.get("event") == HookEvent.ON_SYSTEM_START):
                self._trail = self._trail_of(kernel)
        except Exception as error:  # whatever an object in a context does when it is looked at
            self._failed(error, 1)
            return
        if self._trail is not None:
            self._write(self._trail, line)
        elif len(self._held) < MAX_HELD:
            self._held.append(line)
        else:
            self._failed(OverflowError("the kernel is not open yet, and too much has happened"), 1)

    def _write(self, trail: Trail, *lines: dict[str, Any]) -> None:
        with self._lock:  # two threads must not both tell of the same gap
            lost, self.lost = self.lost, 0
            lines, self._held = (*self._held, *lines), []
        fields = {"lost": lost, "since_s": self._lost_since_s, "reason": self._reason}
        told = [content(GAP, "", now_s(), fields=fields)] if lost else []
        try:
            trail.append(*told, *lines)
        except Exception as error:  # told, counted and made good for with a line, all in `_failed` and here
            self._failed(error, lost + len(lines))
            return
        self.written += len(lines)
        if self._failing:
            self._failing, self._pause_s = False, _FIRST_PAUSE_S
            _log(f"the audit trail {trail.path} is written again; {lost} events are missing, and a line of it says so")

    def _failed(self, error: Exception, lost: int) -> None:
        with self._lock:
            first, self._failing = not self._failing, True
            self.lost += lost
            if first:
                self._lost_since_s = now_s()
            shown = str(error) if isinstance(error, CheckpointEngineError) else f"{type(error).__name__}: {error}"
            self._reason = text(shown)
            self._try_again_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        if first:
            _log(f"an event could not be recorded in the audit trail; the training goes on without: {self._reason}")

    def _trail_of(self, kernel: Any) -> Trail:
        path = Path(self.config.path) if self.config.path else _directory(kernel) / "audit.jsonl"
        config = self.config
        return Trail(
            path.absolute(),
            durable=config.durable,
            max_nbytes=config.max_file_nbytes,
            lock_timeout_s=config.lock_timeout_s,
        )


def _directory(kernel: Any) -> Path:
    return Path(kernel.config.storage.checkpoint_dir) if kernel is not None else Path("checkpoints")


def _chosen(events: tuple[str, ...]) -> set[str]:
    named = {name for name in events if name not in (ALL, DEFAULT)}
    if ALL in events:
        return {event.value for event in HookEvent}
    return named | ({event.value for event in HookEvent if not EVENTS[event].hot} if DEFAULT in events else set())


def _unknown(events: tuple[str, ...]) -> list[str]:
    known = [event.value for event in HookEvent] + [ALL, DEFAULT]
    problems = []
    for name in events:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            problems.append(f"there is no event {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return problems


def _log(message: str) -> None:
    from logging import getLogger

    getLogger("model_checkpoint").warning(message)
