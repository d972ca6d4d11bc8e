"""A plugin's life where it does not go as usual: late, interrupted, by itself, at the wrong moment."""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_checkpoint.errors import HookRegistrationError, KernelError, PluginLoadError, UnknownBackendError
from model_checkpoint.hooks import HookEvent, HookManager, hookimpl
from model_checkpoint.kernel import Kernel
from model_checkpoint.plugins import PluginSet, PluginState, PluginStates, discover
from model_checkpoint.plugins.turn import Turn

Install = Callable[..., None]
MANIFEST = '[plugin.odd]\nprovides = ["analyzer:odd"]\nhooks = ["on_alias_change"]\n'
CODE = """
import time
from model_checkpoint.contracts import AnalyzerDescriptor
from model_checkpoint.hooks import hookimpl
calls, waits = [], []

class Odd:
    def configure(self, config):
        time.sleep(waits.pop() if waits else 0)
    def start(self, kernel, exits):
        exits.callback(calls.append, "unwound")
        {start}
    @hookimpl
    def register_analyzers(self, kernel):
        return [AnalyzerDescriptor("odd", dict)]
    @hookimpl
    def on_alias_change(self, context):
        calls.append("hook")
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[PluginSet]:
    hooks = HookManager(kernel="the kernel")
    plugins = PluginSet(hooks, "the kernel", states=PluginStates(tmp_path / "plugins.json"))
    yield plugins
    plugins.close()
    hooks.close()


def load(plugins: PluginSet, *names: str) -> None:
    plugins.load_found(plugin for plugin in discover() if plugin.name in names)


def state_of(plugins: PluginSet, name: str) -> PluginState | None:
    info = plugins.get(name)
    return info.state if info else None


def alias(hooks: HookManager) -> None:
    ids = {"old_checkpoint_id": None, "new_checkpoint_id": "c"}
    hooks.fire(HookEvent.ON_ALIAS_CHANGE, alias="a", model_name="m", actor="", **ids)


@pytest.fixture
def odd(install: Install) -> Callable[..., None]:
    def make(start: str = "pass", waits: str = "") -> None:
        source = CODE.replace("{start}", start).replace("waits = [], []", f"waits = [], [{waits}]")
        install("mce-odd", {"odd": "mce_odd:Odd"}, manifest=MANIFEST, mce_odd=source)

    return make


def test_a_late_thread_leaves_alone_what_came_up_after_it(odd: Callable[..., None], plugins: PluginSet) -> None:
    odd(waits="0.6")
    plugins.limit_s = 0.2
    load(plugins, "odd")
    assert plugins.activate("odd").state is PluginState.FAILED
    plugins.enable("odd")
    assert plugins.activate("odd").state is PluginState.ACTIVE
    time.sleep(0.8)
    alias(plugins._hooks)
    assert sys.modules["mce_odd"].calls == ["hook"]
    assert plugins.provided.analyzers.get("odd") is not None


def test_after_a_late_thread_ended_it_is_still_told_why_there_is_none(
    odd: Callable[..., None], plugins: PluginSet
) -> None:
    odd(waits="0.5")
    plugins.limit_s = 0.2
    load(plugins, "odd")
    plugins.activate("odd")
    time.sleep(0.6)
    with pytest.raises(PluginLoadError, match="was not done within"):
        plugins.provided.analyzers.get("odd")


def test_after_ctrl_c_while_it_comes_up_it_still_waits(odd: Callable[..., None], plugins: PluginSet) -> None:
    odd(waits="0.6")
    load(plugins, "odd")
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        plugins.activate("odd")
    time.sleep(0.8)
    alias(plugins._hooks)
    assert sys.modules["mce_odd"].calls == ["hook"]
    assert state_of(plugins, "odd") is PluginState.ACTIVE


@pytest.mark.parametrize(
    ("call", "state"), [("deactivate", PluginState.DEACTIVATED), ("disable", PluginState.DISABLED)]
)
def test_one_may_take_itself_down_as_it_starts(
    call: str, state: PluginState, odd: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCE_HOME", str(tmp_path / "home"))
    odd(start=f"kernel.plugins.{call}('odd')")
    with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
        kernel.plugins.activate("odd")
        assert state_of(kernel.plugins, "odd") is state
        assert sys.modules["mce_odd"].calls == ["unwound"]


def test_a_script_cannot_take_the_name_of_a_plugin_that_waits() -> None:
    with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
        with pytest.raises(HookRegistrationError, match="belongs to a plugin"):
            kernel.hooks.register_hook("metrics", lambda context: None, [HookEvent.AFTER_CHECKPOINT_SAVE])
        with kernel.run("digits"):
            kernel.log_metrics({"loss": 1.0})


def test_a_base_exception_of_its_import_is_its_own_affair(install: Install, plugins: PluginSet) -> None:
    source = "class PanicException(BaseException): pass\nraise PanicException('unwrap on None')\n"
    install("mce-odd", {"odd": "mce_odd"}, manifest=MANIFEST, mce_odd=source)
    load(plugins, "odd")
    alias(plugins._hooks)
    assert state_of(plugins, "odd") is PluginState.FAILED


def test_nobody_calls_its_hooks_before_it_has_started(odd: Callable[..., None], plugins: PluginSet) -> None:
    odd(start="time.sleep(0.4); calls.append('started')")
    load(plugins, "odd")
    plugins.start_all()
    thread = threading.Thread(target=plugins.activate, args=("odd",))
    thread.start()
    time.sleep(0.2)
    alias(plugins._hooks)
    thread.join()
    assert sys.modules["mce_odd"].calls == ["started", "hook"]


def test_one_that_saves_as_it_starts_is_no_deadlock_with_a_save(tmp_path: Path) -> None:
    class Saves:
        name = "saves"

        def start(self, kernel: Kernel) -> None:
            time.sleep(0.3)
            kernel.save({"x": 1})

        @hookimpl
        def on_alias_change(self, context: object) -> None: ...

    failures: list[BaseException] = []

    def add(kernel: Kernel) -> None:
        try:
            kernel.plugins.add(Saves())
        except PluginLoadError as error:
            failures.append(error)

    with Kernel.open(f"sqlite:///{tmp_path}/x.db", storage_backend="memory", quiet=True) as kernel:
        kernel.start_run("digits")
        thread = threading.Thread(target=add, args=(kernel,), daemon=True)
        thread.start()
        time.sleep(0.1)
        assert kernel.save({"w": 1})  # needs adapters, which wait to be activated
        thread.join(10)
        assert not thread.is_alive()
        assert all("cannot save" in str(failure) for failure in failures)


def test_under_two_names_only_the_one_that_is_deactivated_goes(plugins: PluginSet) -> None:
    heard = []

    class Twice:
        @hookimpl
        def on_alias_change(self, context: object) -> None:
            heard.append(1)

    twice = Twice()
    plugins.add(twice, "one")
    plugins.add(twice, "two")
    plugins.deactivate("two")
    alias(plugins._hooks)
    assert heard == [1]


def test_nothing_comes_up_once_the_kernel_is_closed() -> None:
    class Thing:
        name = "thing"

        @hookimpl
        def on_alias_change(self, context: object) -> None: ...

    kernel = Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True)
    kernel.close()
    with pytest.raises(KernelError, match="closed"):
        kernel.plugins.add(Thing())


def test_a_copied_context_has_no_part_in_a_turn_that_is_over() -> None:
    turn, kept = Turn(), []
    with turn.taken():
        turn.within(5, "p", lambda: kept.append(contextvars.copy_context()), lambda: None)
    assert not kept[0].run(lambda: turn.is_mine)


def test_a_kernel_that_does_not_open_leaves_no_thread() -> None:
    class Early:
        name = "early"

        @hookimpl
        async def after_config_load(self, context: object) -> None: ...

    before = set(threading.enumerate())
    for _ in range(3):
        with pytest.raises(UnknownBackendError):
            Kernel.open("sqlite:///:memory:", storage_backend="nope", quiet=True, early=[Early()])
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(threading.enumerate()) - before == set()


def test_a_hook_that_closes_the_kernel_as_the_run_ends_closes_it_once() -> None:
    class Closes:
        name, heard = "closes", []

        @hookimpl
        def on_run_end(self, context: object, kernel: Kernel) -> None:
            kernel.close()

        @hookimpl
        def on_system_shutdown(self, context: object) -> None:
            self.heard.append("shutdown")

    kernel = Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True, register=[Closes()])
    kernel.start_run("digits")
    kernel.close()
    assert Closes.heard == ["shutdown"]
