"""From waiting to gone: when a plugin is imported, what is asked of it, and what is left of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.errors import KernelError, PluginError, PluginLoadError
from model_checkpoint.hooks import HookEvent, HookManager, hookimpl
from model_checkpoint.kernel import Kernel
from model_checkpoint.plugins import PluginSet, PluginState, PluginStates, discover

Install = Callable[..., None]

MANIFEST = """
    [plugin.brick]
    summary = "Bricks"
    provides = ["analyzer:bricks"]
    hooks = ["on_alias_change"]
"""
BRICK = """
    from model_checkpoint.contracts import AnalyzerDescriptor
    from model_checkpoint.hooks import hookimpl

    calls = []

    class Brick:
        def configure(self, config):
            calls.append(("configure", dict(config)))

        def start(self, kernel, exits):
            calls.append(("start", kernel))
            exits.callback(calls.append, "unwound")

        @hookimpl
        def register_analyzers(self, kernel):
            return [AnalyzerDescriptor("bricks", lambda: None)]

        @hookimpl
        def on_alias_change(self, context):
            calls.append(context.alias)
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


def state_of(plugins: PluginSet, name: str) -> PluginState:
    info = plugins.get(name)
    assert info is not None
    return info.state


def calls_of(module: str) -> list[Any]:
    calls: list[Any] = sys.modules[module].calls
    return calls


def test_with_a_manifest_nothing_is_imported_before_it_is_needed(install: Install, plugins: PluginSet) -> None:
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    load(plugins, "brick")
    info = plugins.get("brick")
    assert info is not None
    assert (info.state, info.summary, info.provides) == (PluginState.REGISTERED, "Bricks", ("analyzer:bricks",))
    assert info.hooks == ("on_alias_change",)
    assert plugins.provided.analyzers.names() == ["bricks"]
    assert "mce_brick" not in sys.modules


def test_the_first_call_of_a_hook_activates_it_and_is_heard(install: Install, plugins: PluginSet) -> None:
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    load(plugins, "brick")
    plugins.start_all()
    plugins._hooks.fire(HookEvent.ON_RUN_END)
    assert "mce_brick" not in sys.modules
    plugins._hooks.fire(HookEvent.ON_ALIAS_CHANGE, alias="prod")
    assert calls_of("mce_brick") == [("configure", {}), ("start", "the kernel"), "prod"]
    assert state_of(plugins, "brick") is PluginState.ACTIVE


def test_so_does_the_first_use_of_what_it_provides(install: Install, plugins: PluginSet) -> None:
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    load(plugins, "brick")
    found = plugins.provided.analyzers.get("bricks")
    assert found is not None
    assert state_of(plugins, "brick") is PluginState.ACTIVE
    assert calls_of("mce_brick") == [("configure", {})]  # it starts when the kernel is open
    plugins.start_all()
    assert calls_of("mce_brick")[1:] == [("start", "the kernel")]


def test_it_is_called_at_the_place_in_the_order_that_was_its_own(install: Install, plugins: PluginSet) -> None:
    order: list[str] = []

    class Late:
        @hookimpl
        def on_alias_change(self) -> None:
            order.append("script")

    source = """
        from model_checkpoint.hooks import hookimpl
        def told(): pass
        @hookimpl
        def on_alias_change(): told()
    """
    manifest = "[plugin.first]\nhooks = ['on_alias_change']"
    install("mce-first", {"first": "mce_first"}, manifest=manifest, mce_first=source)
    load(plugins, "first")
    plugins.add(Late())
    plugins.activate("first")
    sys.modules["mce_first"].told = lambda: order.append("first")  # type: ignore[attr-defined]
    plugins._hooks.fire(HookEvent.ON_ALIAS_CHANGE)
    assert order == ["first", "script"]


def test_a_wrapper_wraps_the_very_first_call(install: Install, plugins: PluginSet) -> None:
    source = """
        from model_checkpoint.hooks import hookimpl
        results = []
        @hookimpl(wrapper=True)
        def on_alias_change():
            results.extend((yield))
            return results
    """
    install("mce-wrap", {"wrap": "mce_wrap"}, manifest="[plugin.wrap]\nhooks = ['on_alias_change']", mce_wrap=source)

    class Answers:
        @hookimpl
        def on_alias_change(self) -> str:
            return "yes"

    load(plugins, "wrap")
    plugins.add(Answers())
    plugins._hooks.fire(HookEvent.ON_ALIAS_CHANGE)
    assert sys.modules["mce_wrap"].results == ["yes"]  # type: ignore[attr-defined]


def test_threads_that_need_it_at_once_activate_it_once_and_all_hear(install: Install, plugins: PluginSet) -> None:
    source = "import time\ntime.sleep(0.2)" + BRICK.replace("\n    ", "\n")
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=source)
    load(plugins, "brick")
    plugins.start_all()
    threads = [
        threading.Thread(target=plugins._hooks.fire, args=(HookEvent.ON_ALIAS_CHANGE,), kwargs={"alias": str(n)})
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert calls_of("mce_brick")[0] == ("configure", {})
    assert sorted(calls_of("mce_brick")[2:]) == sorted(map(str, range(8)))


def test_what_it_needs_comes_up_before_it(install: Install, plugins: PluginSet) -> None:
    trace = "import sys\nsys.modules.setdefault('order', []).append({!r})\n"
    for name, requires in (("a", "['b', 'analyzer:c']"), ("b", "[]"), ("c", "[]")):
        manifest = f"[plugin.{name}]\nhooks=['on_alias_change']\nrequires={requires}\n"
        manifest += "provides=['analyzer:c']" if name == "c" else ""
        source = trace.format(name) + (BRICK.replace("bricks", "c").replace("\n    ", "\n") if name == "c" else "")
        target = "mce_c:Brick" if name == "c" else f"mce_{name}"
        install(f"mce-{name}", {name: target}, manifest=manifest, **{f"mce_{name}": source})
    load(plugins, "a", "b", "c")
    try:
        plugins.activate("a")
        assert sys.modules.pop("order") == ["b", "c", "a"]  # type: ignore[comparison-overlap]
    finally:
        sys.modules.pop("order", None)


def test_one_whose_need_fails_fails_and_says_so(install: Install, plugins: PluginSet) -> None:
    install("mce-a", {"a": "mce_a"}, manifest="[plugin.a]\nhooks=['on_run_end']\nrequires=['b']", mce_a="")
    install("mce-b", {"b": "mce_b"}, manifest="[plugin.b]\nhooks=['on_run_end']", mce_b="1 / 0")
    load(plugins, "a", "b")
    info = plugins.activate("a")
    assert info.state is PluginState.FAILED
    assert info.error == "it needs 'b', which cannot be used: ZeroDivisionError: division by zero"
    assert "mce_a" not in sys.modules


@pytest.mark.parametrize("step", ["configure", "start"])
def test_one_that_raises_as_it_comes_up_leaves_nothing_behind(step: str, install: Install, plugins: PluginSet) -> None:
    source = BRICK.replace(f"def {step}(self", f"def {step}_(self").replace(
        "    class Brick:", f"    class Brick:\n        def {step}(self): raise OSError('no room')"
    )
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=source)
    load(plugins, "brick")
    plugins.start_all()
    info = plugins.activate("brick")
    assert (info.state, info.error) == (PluginState.FAILED, "OSError: no room")
    assert plugins._hooks.hooks_of("brick") == ()
    assert not plugins._hooks.live("on_alias_change")
    with pytest.raises(
        PluginLoadError, match="the analyzer 'bricks' comes from the plugin 'brick', which cannot be used: OSError"
    ):
        plugins.provided.analyzers.get("bricks")


def test_one_that_hangs_is_left_out_and_the_rest_goes_on(install: Install, plugins: PluginSet) -> None:
    install("mce-hang", {"hang": "mce_hang"}, mce_hang="import time\ntime.sleep(1.5)")
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    plugins.limit_s = 0.1
    load(plugins, "hang", "brick")
    info = plugins.get("hang")
    assert info is not None
    assert (info.state, info.error[:43]) == (PluginState.FAILED, "it was not done within 0.1 s and is left ou")
    assert plugins.activate("brick").state is PluginState.ACTIVE


def test_one_may_use_the_kernel_and_other_plugins_while_it_starts(install: Install, plugins: PluginSet) -> None:
    source = """
        def start(kernel):
            kernel.fire("on_alias_change", alias="from start")
    """
    install("mce-eager", {"eager": "mce_eager"}, mce_eager=source)
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    plugins._kernel = plugins._hooks
    load(plugins, "eager", "brick")
    plugins.limit_s = 5
    plugins.start_all()
    assert state_of(plugins, "eager") is PluginState.ACTIVE
    assert calls_of("mce_brick")[-1] == "from start"


def test_a_promise_of_the_manifest_that_is_not_kept_fails_it(install: Install, plugins: PluginSet) -> None:
    manifest = "[plugin.brick]\nprovides = ['analyzer:bricks', 'storage:none']"
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=manifest, mce_brick=BRICK)
    load(plugins, "brick")
    info = plugins.activate("brick")
    assert info.error == "plugin.toml says that it provides storage:none, and it does not: correct `provides`"


def test_hooks_that_the_manifest_leaves_out_or_invents_are_noted(install: Install, plugins: PluginSet) -> None:
    manifest = "[plugin.brick]\nhooks = ['on_run_end']"
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=manifest, mce_brick=BRICK)
    load(plugins, "brick")
    assert plugins.activate("brick").notes == (
        "it implements on_alias_change too: say so in `hooks`, or its first calls are missed",
        "`hooks` names on_run_end, which it does not implement",
    )


def test_deactivated_it_is_gone_and_told_of(install: Install, plugins: PluginSet) -> None:
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    load(plugins, "brick")
    plugins.start_all()
    plugins.activate("brick")
    seen: list[Any] = []
    plugins._hooks.register_hook("listen", seen.append, [HookEvent.AFTER_PLUGIN_UNLOAD])
    plugins.deactivate("brick", "no longer needed")
    assert calls_of("mce_brick")[-1] == "unwound"
    assert [(context.name, context.reason) for context in seen] == [("brick", "no longer needed")]
    assert seen[0].hooks == ("on_alias_change", "register_analyzers")
    plugins._hooks.fire(HookEvent.ON_ALIAS_CHANGE, alias="prod")
    assert "prod" not in calls_of("mce_brick")
    assert plugins.provided.analyzers.names() == []
    assert state_of(plugins, "brick") is PluginState.DEACTIVATED
    assert plugins.activate("brick").state is PluginState.ACTIVE


def test_those_that_need_it_go_first(install: Install, plugins: PluginSet) -> None:
    install("mce-a", {"a": "mce_a"}, manifest="[plugin.a]\nhooks=['on_run_end']\nrequires=['b']", mce_a="")
    install("mce-b", {"b": "mce_b"}, manifest="[plugin.b]\nhooks=['on_run_end']", mce_b="")
    load(plugins, "a", "b")
    plugins.activate("a")
    gone: list[str] = []
    plugins._hooks.register_hook("listen", lambda context: gone.append(context.name), [HookEvent.AFTER_PLUGIN_UNLOAD])
    plugins.deactivate("b")
    assert gone == ["a", "b"]


def test_disabled_it_stays_away_in_later_kernels_until_enabled(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    with Kernel.open(quiet=True) as kernel:
        kernel.plugins.activate("brick")
        kernel.plugins.disable("brick", "too slow")
        assert state_of(kernel.plugins, "brick") is PluginState.DISABLED
    with Kernel.open(quiet=True) as kernel:
        info = kernel.plugins.get("brick")
        assert info is not None
        assert (info.state, info.error) == (
            PluginState.DISABLED,
            "disabled by the user (too slow): mce plugins enable brick",
        )
        with pytest.raises(PluginLoadError, match=r"'bricks' comes from the plugin 'brick', which is disabled by"):
            kernel.analyzer("bricks")
        enabled = kernel.plugins.enable("brick")
        assert enabled is not None
        assert enabled.state is PluginState.REGISTERED
        assert kernel.plugins.activate("brick").state is PluginState.ACTIVE
    with Kernel.open(quiet=True) as kernel:
        assert state_of(kernel.plugins, "brick") is PluginState.REGISTERED


def test_what_a_kernel_works_with_cannot_be_taken_from_under_it(tmp_path: Path) -> None:
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True) as kernel:
        kernel.save({"a": 1})
        with pytest.raises(KernelError, match="plugin 'vault' cannot go while storage:vault is the storage of an open"):
            kernel.plugins.disable("vault")
        with pytest.raises(KernelError, match="plugin 'sqlite' cannot go while scheme:sqlite is the record store"):
            kernel.plugins.deactivate("sqlite")


def test_a_name_that_nobody_has_is_told_with_the_nearest(plugins: PluginSet, install: Install) -> None:
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    load(plugins, "brick")
    with pytest.raises(PluginError, match="no plugin is called 'brik'; did you mean 'brick'"):
        plugins.activate("brik")


def test_a_kernel_does_not_open_without_the_plugins_it_requires(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("mce-bad", {"bad": "mce_bad"}, manifest="[plugin.bad]\nhooks=['on_run_end']", mce_bad="1 / 0")
    monkeypatch.setenv("MCE_REQUIRED_PLUGINS", "bad,absent,numpy")
    with pytest.raises(
        PluginLoadError,
        match="required_plugins asks for what cannot be had: 'bad' cannot be used: ZeroDivisionError: division by zero;"
        " 'absent' is not installed",
    ):
        Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True)
    assert Kernel.open_kernels() == []


def test_a_kernel_takes_its_plugins_down_as_it_closes(install: Install, tmp_path: Path) -> None:
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True) as kernel:
        kernel.plugins.activate("brick")
        assert "unwound" not in calls_of("mce_brick")
    assert calls_of("mce_brick")[-1] == "unwound"


def test_a_missing_library_is_told_with_the_extra_that_has_it(install: Install, plugins: PluginSet) -> None:
    manifest = "[plugin.far]\nhooks = ['on_run_end']\nextra = 'cloud'"
    install("mce-far", {"far": "mce_far"}, manifest=manifest, mce_far="import no_such_library")
    load(plugins, "far")
    assert plugins.activate("far").error == "it lacks 'no_such_library': pip install 'mce-far[cloud]'"


def test_the_manifest_of_a_package_that_is_broken_refuses_its_plugins_and_no_others(
    install: Install, plugins: PluginSet
) -> None:
    install("mce-bad", {"bad": "mce_bad"}, manifest="[plugin.bad", mce_bad="")
    install("mce-brick", {"brick": "mce_brick:Brick"}, manifest=MANIFEST, mce_brick=BRICK)
    load(plugins, "bad", "brick")
    info = plugins.get("bad")
    assert info is not None
    assert info.state is PluginState.REFUSED
    assert "plugin.toml" in info.error
    assert plugins.activate("brick").state is PluginState.ACTIVE


def test_what_failed_in_a_plugin_is_still_told_as_the_kernel_closes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Oops:
        @hookimpl
        def on_run_end(self) -> None:
            raise ValueError("oops")

        @hookimpl
        def after_plugin_unload(self, context: Any) -> None:
            print("gone:", context.name)

    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True, register=[Oops()]) as kernel:
        kernel.start_run("a")
    said = capsys.readouterr()
    assert "hook Oops.on_run_end failed 1 of 1 times" in said.err
    assert "gone: sqlite\n" in said.out
    assert "gone: Oops\n" in said.out
    assert [line.errors for line in kernel.hooks.stats() if line.hook == "on_run_end"] == [1]
