"""Plugins that do what no plugin should: each is alone with it."""

from __future__ import annotations

import time

import pytest

from model_checkpoint.contracts import AnalyzerDescriptor, CommandDescriptor
from model_checkpoint.hooks import HookManager, hookimpl
from model_checkpoint.plugins import FoundPlugin, PluginSet, PluginState


class Panic(BaseException):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Provider:
    def __init__(self, hook, answer):
        setattr(type(self), hook, hookimpl(lambda self, kernel: answer))


def loaded(load, limit_s=5.0):
    plugins = PluginSet(HookManager(), None)
    plugins.limit_s = limit_s
    plugins.load_found([FoundPlugin("odd", "odd", "mce-odd", "1", load)])
    return plugins


@pytest.mark.parametrize("error", [Panic("rust panicked"), Mute(), SystemExit(3)])
def test_whatever_an_import_raises_the_plugin_is_alone_with_it(error) -> None:
    def load():
        raise error

    assert loaded(load).get("odd").state is PluginState.FAILED


@pytest.mark.parametrize("name", [None, 5, "", "a b", "\x1b[2J", "x" * 10_000])
def test_a_descriptor_without_a_proper_name_is_refused(name) -> None:
    class Odd:
        @hookimpl
        def register_commands(self, kernel):
            return [CommandDescriptor(name, lambda: None)]

    plugins = loaded(Odd)
    assert "that is no name" in plugins.get("odd").error
    assert plugins.provided.others["register_commands"].names() == []


def test_descriptors_without_end_are_refused() -> None:
    class Odd:
        @hookimpl
        def register_analyzers(self, kernel):
            number = 0
            return iter(lambda: AnalyzerDescriptor(f"a{time.perf_counter_ns()}{number}", dict), None)

    plugins = loaded(Odd)
    assert plugins.get("odd").state is PluginState.FAILED
    assert plugins.provided.analyzers.names() == []


def test_what_is_opened_too_late_is_closed_all_the_same() -> None:
    closed = []

    class Odd:
        def start(self, kernel, exits):
            time.sleep(0.4)
            exits.callback(closed.append, "late")

    plugins = loaded(Odd, limit_s=0.1)
    plugins.start_all()
    assert plugins.get("odd").state is PluginState.FAILED
    time.sleep(0.8)
    assert closed == ["late"]
