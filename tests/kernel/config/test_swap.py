"""How a changed configuration comes into force, and what keeps the one before."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.config import ConfigSwap, KernelConfig, Participant
from model_checkpoint.errors import ConfigProblems, ConfigurationError, OperationVetoed
from model_checkpoint.hooks import HookEvent, HookManager, Veto


class Recorder:
    """A participant that notes what it is asked, and fails where it is told to."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log, self.failing = name, log, ""
        self.generation = 0

    def check(self, new: KernelConfig) -> None:
        self.log.append(f"{self.name} check")
        if self.failing == "check":
            raise ConfigProblems([f"plugins.{self.name}.x is wrong", f"plugins.{self.name}.y is wrong"])

    def reconfigure(self, old: KernelConfig, new: KernelConfig) -> None:
        self.log.append(f"{self.name} {old.generation}->{new.generation}")
        if self.failing == "reconfigure" or (self.failing == "back" and new.generation < old.generation):
            raise RuntimeError("no")
        self.generation = new.generation


class Kernel:
    """A swap over a folder of files, with real hooks and three participants."""

    def __init__(self, folder) -> None:
        self.hooks, self.log = HookManager(), []
        self.a, self.b, self.c = (Recorder(name, self.log) for name in "abc")
        participants: list[Participant] = [self.a, self.b, self.c]
        self.swap = ConfigSwap(folder.load(), folder.load, self.hooks.fire, lambda: participants)
        self.events: list[tuple[str, dict[str, object]]] = []
        for event in (
            HookEvent.BEFORE_CONFIG_UPDATE, HookEvent.AFTER_CONFIG_UPDATE, HookEvent.ON_CONFIG_VALIDATION_ERROR
        ):  # fmt: skip
            self.hooks.register_hook(event.value, self.note, event)

    def note(self, context) -> None:
        self.events.append((context.event.value, {name: getattr(context, name) for name in context._fields}))

    def fields(self, event: str) -> dict[str, object]:
        (found,) = [fields for name, fields in self.events if name == event]
        return found


@pytest.fixture
def kernel(folder) -> Kernel:
    folder.write("project", 'quiet = true\n[storage]\nverify = "fast"\n[plugins.s3]\nbucket = "x"\n')
    return Kernel(folder)


def kept(kernel: Kernel, change: Callable[[], object], error: type[Exception] = ConfigProblems) -> tuple[str, ...]:
    """Return what is told of a change that fails, and see that nothing came of it."""
    before, loaded = kernel.swap.current, kernel.swap.loaded
    with pytest.raises(error) as caught:
        change()
    assert kernel.swap.current is before
    assert kernel.swap.loaded is loaded
    fields = kernel.fields("on_config_validation_error")
    assert fields["kept_generation"] == before.generation
    assert fields["errors"] == caught.value.problems
    return fields["errors"]


def test_a_changed_file_comes_into_force_in_order_and_is_announced(folder, kernel: Kernel) -> None:
    old = kernel.swap.current
    folder.write("project", '[storage]\nverify = "full"\n[plugins.s3]\nbucket = "y"\nmore = 1\n')
    assert kernel.swap.reload("watch") is True
    new = kernel.swap.current
    assert (new.storage.verify, new.plugins, new.generation) == ("full", {"s3": {"bucket": "y", "more": 1}}, 1)
    assert kernel.log == ["a check", "b check", "c check", "a 0->1", "b 0->1", "c 0->1"]
    before, after = kernel.fields("before_config_update"), kernel.fields("after_config_update")
    assert (before["old"], before["new"], before["origin"]) == (old, new, "watch")
    assert before["changed_keys"] == after["changed_keys"]
    assert after["changed_keys"] == ("plugins.s3.bucket", "plugins.s3.more", "quiet", "storage.verify")
    assert after["needs_restart"] == ("quiet",)
    assert new.quiet is True


def test_what_needs_a_restart_keeps_its_value_and_is_told_once(folder, kernel: Kernel) -> None:
    folder.write("project", '[database]\nurl = "sqlite:///other.db"\n')
    assert kernel.swap.reload() is True
    assert kernel.swap.current.database.url == "sqlite:///experiments.db"
    assert kernel.swap.current.storage.checkpoint_dir == folder.path / "checkpoints"
    assert kernel.swap.loaded.config.database.url == "sqlite:///other.db"
    assert set(kernel.fields("after_config_update")["needs_restart"]) == {"database.url", "quiet"}
    assert kernel.swap.reload() is False


def test_nothing_changed_is_false_and_no_event(folder, kernel: Kernel) -> None:
    assert kernel.swap.reload() is False
    folder.write("project", folder.file("project").read_text() + "# a comment\n")
    assert kernel.swap.reload() is False
    assert kernel.swap.update({"storage.verify": "fast"}) is False
    assert (kernel.events, kernel.log, kernel.swap.current.generation) == ([], [], 0)


def test_an_update_holds_over_later_reloads(folder, kernel: Kernel) -> None:
    assert kernel.swap.update({"storage.verify": "header", "plugins.s3": {"region": "eu"}}) is True
    folder.write("project", 'quiet = true\n[storage]\nverify = "full"\n[plugins.s3]\nbucket = "z"\n')
    assert kernel.swap.reload() is True
    config = kernel.swap.current
    assert (config.storage.verify, config.plugins["s3"]) == ("header", {"bucket": "z", "region": "eu"})
    assert kernel.swap.loaded.origins["storage.verify"] == ("script", "storage.verify")


def test_an_update_that_is_wrong_is_refused_whole(kernel: Kernel) -> None:
    problems = kept(kernel, lambda: kernel.swap.update({"storage.verify": "header", "quiet": "1", "quite": True}))
    assert problems == (
        "quiet='1' does not fit: input should be a valid boolean",
        "quite is not known; did you mean 'quiet'?",
    )


def test_what_is_enforced_cannot_be_updated(folder) -> None:
    path = folder.write("enforced", '[storage]\nverify = "full"\n')
    kernel = Kernel(folder)
    (problem,) = kept(kernel, lambda: kernel.swap.update({"storage.verify": "stat"}))
    assert problem == f"storage.verify is enforced by {path} and cannot be changed"


def test_a_veto_keeps_the_generation(kernel: Kernel) -> None:
    def no(context) -> None:
        raise Veto("not during an epoch")

    kernel.hooks.register_hook("no", no, HookEvent.BEFORE_CONFIG_UPDATE)
    with pytest.raises(OperationVetoed, match="not during an epoch"):
        kernel.swap.update({"storage.verify": "full"})
    assert (kernel.swap.current.generation, kernel.log) == (0, [])
    kernel.hooks.unregister_hook("no")
    assert kernel.swap.update({"storage.verify": "full"}) is True
    assert kernel.swap.current.generation == 1


def test_every_participant_checks_and_all_that_they_refuse_is_told(kernel: Kernel) -> None:
    kernel.a.failing = kernel.c.failing = "check"
    problems = kept(kernel, lambda: kernel.swap.update({"storage.verify": "full"}))
    assert len(problems) == 4
    assert kernel.log == ["a check", "b check", "c check"]


def test_a_participant_that_cannot_take_it_over_sends_those_before_it_back_in_reverse(kernel: Kernel) -> None:
    kernel.c.failing = "reconfigure"
    problems = kept(kernel, lambda: kernel.swap.update({"storage.verify": "full"}))
    assert problems == ("c could not take it over: RuntimeError: no",)
    assert kernel.log[3:] == ["a 0->1", "b 0->1", "c 0->1", "b 1->0", "a 1->0"]


def test_one_that_cannot_go_back_is_logged_and_stops_no_other(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    kernel.c.failing, kernel.b.failing = "reconfigure", "back"
    with caplog.at_level(logging.ERROR):
        kept(kernel, lambda: kernel.swap.update({"storage.verify": "full"}))
    assert "b could not go back to generation 0" in caplog.text
    assert (kernel.a.generation, kernel.log[-1]) == (0, "a 1->0")


@pytest.mark.parametrize(
    "content", [b'[storage]\nverify = "fu', b"\xff\xfe", b'[storage]\nverify = "deep"\n'], ids=["half", "utf-8", "word"]
)
def test_a_broken_file_keeps_the_generation(folder, kernel: Kernel, content: bytes) -> None:
    folder.write("project", content)
    (problem,) = kept(kernel, kernel.swap.reload)
    assert str(folder.file("project")) in problem


@pytest.mark.parametrize(
    ("lose", "word"), [(lambda path: path.write_bytes(b" \n"), "empty"), (Path.unlink, "gone")], ids=["empty", "gone"]
)
def test_a_file_that_is_lost_keeps_what_it_said(
    folder, kernel: Kernel, lose: Callable[[Path], object], word: str
) -> None:
    lose(folder.file("project"))
    (problem,) = kept(kernel, kernel.swap.reload)
    assert f"is {word}, and what it said stays in force" in problem
    folder.write("project", 'quiet = true\n[storage]\nverify = "full"\n')
    assert kernel.swap.reload() is True


def test_a_file_may_be_empty_from_the_start_and_a_new_one_may_come(folder) -> None:
    folder.write("project", "")
    kernel = Kernel(folder)
    assert kernel.swap.reload() is False
    folder.write("user", '[storage]\nverify = "full"\n')
    assert kernel.swap.reload() is True
    assert kernel.swap.current.storage.verify == "full"


def test_who_takes_part_in_a_change_cannot_make_another_and_who_hears_of_it_can(kernel: Kernel) -> None:
    refused: list[Exception] = []

    def before(context) -> None:
        with pytest.raises(ConfigurationError, match="being changed by this thread") as caught:
            kernel.swap.update({"storage.verify": "stat"})
        refused.append(caught.value)

    def after(context) -> None:
        if context.new.generation == 1:
            kernel.swap.update({"storage.verify": "header"})

    kernel.hooks.register_hook("before", before, HookEvent.BEFORE_CONFIG_UPDATE)
    kernel.hooks.register_hook("after", after, HookEvent.AFTER_CONFIG_UPDATE)
    kernel.swap.update({"storage.verify": "full"})
    assert len(refused) == 2
    assert (kernel.swap.current.storage.verify, kernel.swap.current.generation) == ("header", 2)
