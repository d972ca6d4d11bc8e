"""The plugin: what it records, what it masks, what it does when it cannot write, and that it harms nobody."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mce_jsonl_audit import verify
from mce_jsonl_audit.plugin import AuditConfig, AuditPlugin
from mce_jsonl_audit.trail import Trail

from model_checkpoint.errors import ConfigurationError, OperationVetoed, Veto
from model_checkpoint.hooks import HookEvent, HookManager, hookimpl
from model_checkpoint.hooks.specs import EVENTS
from model_checkpoint.kernel import Kernel
from model_checkpoint.testing import HookPluginTests


class TestConformance(HookPluginTests):
    """The kit for hook plugins, with every event listened to."""

    @pytest.fixture
    def make_plugin(self, path: Path) -> Callable[[], object]:
        """Makes a plugin that writes to a trail of this test."""

        return lambda: AuditPlugin(AuditConfig(path=str(path), events=("*",)))


@pytest.fixture
def plugin(path: Path) -> AuditPlugin:
    """A plugin that records every event to the trail of this test."""
    made = AuditPlugin()
    made.configure(AuditConfig(path=str(path), events=("*",), max_file_nbytes=0))
    return made


@pytest.fixture
def hooks(plugin: AuditPlugin) -> Iterator[HookManager]:
    """A hook manager with the plugin in it, whose `start` was called as the kernel calls it."""
    manager = HookManager()
    manager.register(plugin, "jsonl-audit")
    with contextlib.ExitStack() as exits:
        plugin.start(None, exits)
        yield manager


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def last(path: Path) -> dict[str, Any]:
    return lines(path)[-1]


@pytest.mark.parametrize("event", list(HookEvent))
def test_every_event_gets_its_line(hooks: HookManager, path: Path, event: HookEvent) -> None:
    fields = {"plugin": "other"} if "plugin_execute" in event else {}
    hooks.fire(event, **fields)
    assert last(path)["event"] == event.value


def test_hot_events_are_left_alone_unless_asked_for(path: Path) -> None:
    plugin, hooks = AuditPlugin(), HookManager()
    hooks.register(plugin, "jsonl-audit")
    hot = {event.name for event in EVENTS.values() if event.hot}
    assert hot.isdisjoint(hooks.live_events)
    assert {event.value for event in HookEvent} - hot <= hooks.live_events
    plugin.configure(AuditConfig(path=str(path), events=("default", "before_db_write")))
    hooks.register(plugin, "jsonl-audit")
    assert "before_db_write" in hooks.live_events


def test_only_the_events_that_are_named_are_recorded(path: Path) -> None:
    plugin, hooks = AuditPlugin(), HookManager()
    plugin.configure(AuditConfig(path=str(path), events=("on_run_start",)))
    hooks.register(plugin, "jsonl-audit")
    hooks.fire(HookEvent.ON_RUN_START)
    hooks.fire(HookEvent.ON_RUN_END)
    assert [line["event"] for line in lines(path)[1:]] == ["on_run_start"]


def test_a_wrong_configuration_is_refused_with_everything_that_is_wrong() -> None:
    with pytest.raises(ConfigurationError) as caught:
        AuditPlugin().configure(AuditConfig(events=("on_run_strat",), max_file_nbytes=7, lock_timeout_s=-1))
    message = str(caught.value)
    assert "did you mean 'on_run_start'?" in message
    assert "max_file_nbytes" in message
    assert "lock_timeout_s" in message


def test_a_veto_is_recorded_with_who_said_it_and_why(hooks: HookManager, path: Path) -> None:
    def refuse(context: object) -> None:
        raise Veto("loss is NaN")

    hooks.register_hook("no-nan", refuse, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    with pytest.raises(OperationVetoed):
        hooks.fire(HookEvent.BEFORE_CHECKPOINT_SAVE, epoch=3)
    assert last(path)["outcome"] == "vetoed by no-nan: loss is NaN"
    assert last(path)["fields"]["epoch"] == 3


def test_a_line_shows_what_other_hooks_made_of_the_context(hooks: HookManager, path: Path) -> None:
    hooks.register_hook("tag", lambda context: {"tags": {"by": "hook"}}, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    hooks.fire(HookEvent.BEFORE_CHECKPOINT_SAVE, tags={})
    assert last(path)["fields"]["tags"] == {"by": "hook"}


def test_models_tensors_and_unknown_objects_are_left_out(hooks: HookManager, path: Path) -> None:
    class Unseen:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("a model was looked at")

    model = Unseen()
    metadata = {"note": "kept", "blob": b"bytes", "object": object()}
    hooks.fire(HookEvent.BEFORE_CHECKPOINT_SAVE, model=model, state={"w": model}, metadata=metadata)
    assert last(path)["fields"]["metadata"] == {"note": "kept"}
    assert {"model", "state"}.isdisjoint(last(path)["fields"])


def test_secrets_are_masked_in_urls_headers_and_configurations(hooks: HookManager, path: Path) -> None:
    hooks.fire(
        HookEvent.BEFORE_API_REQUEST,
        path="/x?api_token=s3cret&step=1",
        headers={"Authorization": "Bearer s3cret", "Cookie": "s3cret", "Accept": "text/html"},
    )
    hooks.fire(HookEvent.ON_RUN_START, config={"wandb_api_key": "s3cret", "db": {"password": "s3cret"}, "lr": 0.1})
    error = OSError("cannot reach 'postgresql://ada:s3cret@db/runs?sslpassword=s3cret' today")
    hooks.fire(HookEvent.ON_DB_ERROR, error=error)
    text = path.read_text()
    assert "s3cret" not in text
    assert "text/html" in text
    assert "postgresql://ada:***@db/runs" in text
    assert lines(path)[2]["fields"]["config"]["lr"] == 0.1


def test_numbers_are_no_secrets_whatever_they_are_called(hooks: HookManager, path: Path) -> None:
    hooks.fire(HookEvent.BEFORE_CHECKPOINT_SAVE, metrics={"tokens_per_s": 12.5})
    assert last(path)["fields"]["metrics"] == {"tokens_per_s": 12.5}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (2**70, hex(2**70)),
        ("x" * 5000, "x" * 1000 + "... (5000 characters)"),
        ("\ud800", "\ud800"),
        ({1: (1, 2)}, {"1": [1, 2]}),
        (list(range(500)), [*range(200), "... 300 more"]),
        (Path("/a/b"), "/a/b"),
    ],
)
def test_awkward_values_become_plain_ones(hooks: HookManager, path: Path, value: object, shown: object) -> None:
    hooks.fire(HookEvent.ON_RUN_START, config={"value": value})
    assert last(path)["fields"]["config"] == {"value": shown}
    assert verify(path).ok


def test_a_value_that_contains_itself_ends(hooks: HookManager, path: Path) -> None:
    loop: dict[str, object] = {}
    loop["self"] = loop
    hooks.fire(HookEvent.ON_RUN_START, config=loop)
    assert verify(path).ok


def test_a_trail_that_cannot_be_written_is_told_once_and_its_gap_recorded_later(
    hooks: HookManager, plugin: AuditPlugin, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()  # root may write to read-only folders, but nobody into a folder as if it were a file
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            hooks.fire(HookEvent.ON_RUN_START)
    assert (plugin.lost, len(caplog.records)) == (20, 1)
    path.rmdir()
    plugin._try_again_s = 0.0
    hooks.fire(HookEvent.ON_RUN_END)
    begin, gap, event = lines(path)
    assert (gap["kind"], gap["fields"]["lost"], event["event"]) == ("gap", 20, "on_run_end")
    assert "directory" in gap["fields"]["reason"].lower()
    assert begin["seq"] == 0
    assert plugin.lost == 0
    assert verify(path).gaps


def test_what_was_lost_until_the_end_is_told_at_the_end(
    plugin: AuditPlugin, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    hooks = HookManager()
    hooks.register(plugin, "jsonl-audit")
    with contextlib.ExitStack() as exits:
        plugin.start(None, exits)
        hooks.fire(HookEvent.ON_RUN_START)
        hooks.fire(HookEvent.ON_RUN_END)
    assert "2 events are missing" in caplog.records[-1].message


def test_no_hook_fails_while_the_trail_cannot_be_written(hooks: HookManager, path: Path) -> None:
    path.mkdir()
    for _ in range(10):
        hooks.fire(HookEvent.ON_RUN_START)
    assert [line for line in hooks.stats() if line.errors] == []


def test_a_writer_that_hangs_is_waited_for_once_and_not_at_every_event(path: Path) -> None:
    hooks, held = HookManager(), Trail(path)._hold()
    hooks.register(AuditPlugin(AuditConfig(path=str(path), lock_timeout_s=0.2)), "jsonl-audit")
    started = time.perf_counter()
    try:
        for _ in range(20):
            hooks.fire(HookEvent.ON_RUN_START)
    finally:
        held.close()
    assert time.perf_counter() - started < 1.5


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_ends_no_training(tmp_path: Path) -> None:
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=16k tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("a small disk cannot be mounted here")
    try:
        plugin, hooks = AuditPlugin(), HookManager()
        plugin.configure(AuditConfig(path=str(disk / "audit.jsonl")))
        hooks.register(plugin, "jsonl-audit")
        for number in range(200):
            hooks.fire(HookEvent.ON_RUN_START, config={"number": number, "text": "x" * 500})
        assert plugin.lost > 100
        assert verify(disk / "audit.jsonl").torn == []
        assert verify(disk / "audit.jsonl").ok
    finally:
        os.system(f"umount {disk}")


def test_in_a_kernel_the_trail_lies_beside_the_checkpoints(tmp_path: Path) -> None:
    with Kernel.open(
        f"sqlite:///{tmp_path}/x.db", plugins="builtin", quiet=True, register=[AuditPlugin()]
    ) as kernel, kernel.run("digits"):  # fmt: skip
        kernel.save({"w": {"a": 1}}, step=1)
    trail = tmp_path / "checkpoints" / "audit.jsonl"
    events = [line["event"] for line in lines(trail)]
    assert [event for event in events if event in ("on_system_start", "after_checkpoint_save", "on_run_end")] == [
        "on_system_start",
        "after_checkpoint_save",
        "on_run_end",
    ]
    saved = next(line for line in lines(trail) if line["event"] == "after_checkpoint_save")
    assert (saved["run"], saved["checkpoint_id"][:8]) == ("digits-1", "digits-1")
    assert verify(trail).ok


def test_a_strict_kernel_is_not_stopped_by_a_trail_that_cannot_be_written(tmp_path: Path) -> None:
    plugin = AuditPlugin(AuditConfig(path=str(tmp_path)))
    with Kernel.open(
        f"sqlite:///{tmp_path}/x.db", plugins="builtin", quiet=True, strict=True, register=[plugin]
    ) as kernel, kernel.run("digits"):  # fmt: skip
        assert kernel.save({"w": {"a": 1}}, step=1)
    assert plugin.lost


def test_a_late_comer_hears_of_the_start(path: Path) -> None:
    hooks = HookManager()
    hooks.fire(HookEvent.ON_SYSTEM_START, kernel_api="1.0")
    plugin = AuditPlugin()
    plugin.configure(AuditConfig(path=str(path)))
    hooks.register(plugin, "jsonl-audit")
    assert last(path)["fields"]["kernel_api"] == "1.0"


def test_an_error_that_ends_an_operation_is_recorded(hooks: HookManager, path: Path) -> None:
    class Strict:
        @hookimpl(on_error="abort")
        def on_run_start(self, context: object) -> None:
            raise ValueError("no")

    hooks.register(Strict(), "strict")
    with pytest.raises(ValueError, match="no"):
        hooks.fire(HookEvent.ON_RUN_START)
    assert last(path)["outcome"] == "ValueError: no"
