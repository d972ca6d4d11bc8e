"""Plugins that go and come back while a kernel is open: nobody comes unasked, or to another place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from model_checkpoint.errors import ConfigProblems, KernelError, PluginError, PluginLoadError
from model_checkpoint.hooks import HookEvent, HookManager
from model_checkpoint.kernel import Kernel, show_config
from model_checkpoint.plugins import PluginSet, PluginState, PluginStates, Policy, discover

Install = Callable[..., None]
SAYS = """
    from model_checkpoint.hooks import hookimpl
    @hookimpl
    def on_alias_change(context):
        context.user_data.setdefault("order", []).append(__name__)
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[PluginSet]:
    hooks = HookManager()
    plugins = PluginSet(hooks, None, states=PluginStates(tmp_path / "plugins.json"))
    yield plugins
    plugins.close()
    hooks.close()


def install_chain(install: Install) -> None:
    """Three plugins on one hook: the first two in a chain, the third by itself."""
    install("mce-a", {"a": "mce_a"}, manifest="[plugin.a]\nhooks=['on_alias_change']", mce_a=SAYS)
    manifest = "[plugin.b]\nhooks=['on_alias_change']\nrequires=['a']"
    install("mce-b", {"b": "mce_b"}, manifest=manifest, mce_b=SAYS)
    install("mce-c", {"c": "mce_c"}, manifest="[plugin.c]\nhooks=['on_alias_change']", mce_c=SAYS)


def load(plugins: PluginSet, policy: Policy | None = None) -> None:
    plugins.load_found([plugin for plugin in discover() if plugin.name in ("a", "b", "c")], policy)


def order(plugins: PluginSet) -> list[str]:
    data: dict[str, Any] = {}
    plugins._hooks.fire(HookEvent.ON_ALIAS_CHANGE, user_data=data)
    return data.get("order", [])


def test_what_was_deactivated_is_not_brought_back_by_whoever_needs_it(install: Install, plugins: PluginSet) -> None:
    install_chain(install)
    load(plugins)
    plugins.deactivate("a", "too slow")
    info = plugins.activate("b")
    assert (info.state, info.error) == (PluginState.FAILED, "it needs 'a', which was deactivated: too slow")
    assert order(plugins) == ["mce_c"]


def test_what_comes_back_takes_its_old_place(install: Install, plugins: PluginSet) -> None:
    install_chain(install)
    load(plugins)
    assert order(plugins) == ["mce_a", "mce_b", "mce_c"]
    plugins.deactivate("a")
    assert order(plugins) == ["mce_c"]
    plugins.enable("b")
    plugins.enable("a")
    assert order(plugins) == ["mce_a", "mce_b", "mce_c"]


def test_whoever_looks_for_what_a_deactivated_one_provides_is_told(install: Install, plugins: PluginSet) -> None:
    manifest = "[plugin.a]\nprovides=['analyzer:x']"
    install("mce-a", {"a": "mce_a"}, manifest=manifest, mce_a="")
    load(plugins)
    plugins.deactivate("a", "too slow")
    with pytest.raises(PluginLoadError, match=r"the analyzer 'x' comes from the plugin 'a', which is deactivated: too"):
        plugins.provided.analyzers.get("x")


def test_one_that_cannot_go_takes_nobody_with_it(install: Install, plugins: PluginSet) -> None:
    install_chain(install)
    load(plugins)
    order(plugins)
    plugins._provided_by = lambda plugin: (f"storage:{plugin.name}",)  # type: ignore[method-assign, assignment]
    plugins.in_use = lambda capability: "in use" if capability == "storage:a" else ""
    with pytest.raises(KernelError, match="plugin 'a' cannot go while storage:a is in use"):
        plugins.deactivate("a")
    assert order(plugins) == ["mce_a", "mce_b", "mce_c"]


def test_one_that_is_enabled_must_go_with_those_that_are_in(install: Install, plugins: PluginSet) -> None:
    install("mce-a", {"a": "mce_a"}, manifest="[plugin.a]\nprovides=['analyzer:x']", mce_a="")
    install("mce-b", {"b": "mce_b"}, manifest="[plugin.b]\nprovides=['analyzer:x']", mce_b="")
    install("mce-c", {"c": "mce_c"}, manifest="[plugin.c]\nhooks=['on_run_end']\nrequires=['gone>=3']", mce_c="")
    load(plugins, Policy(disabled={"b": "disabled by the user", "c": "disabled by the user"}))
    for name in "bc":
        info = plugins.enable(name)
        assert info is not None
        assert info.state is PluginState.REFUSED
    assert plugins.provided.analyzers.holder("x") == "a"
    assert "needs gone>=3" in next(info.error for info in plugins.list() if info.name == "c")


def test_what_the_settings_disable_only_the_settings_enable(
    install: Install, plugins: PluginSet, caplog: pytest.LogCaptureFixture
) -> None:
    install_chain(install)
    load(plugins, Policy(disabled={"c": "disabled by disabled_plugins"}, in_settings=frozenset({"c", "bb"})))
    assert "disabled_plugins names 'bb', and no such plugin is installed" in caplog.text
    with pytest.raises(PluginError, match="'c' cannot be enabled: disabled by disabled_plugins"):
        plugins.enable("c")


def test_a_change_that_no_plugin_takes_over_is_said_to_wait(install: Install, tmp_path: Path) -> None:
    install("mce-a", {"a": "mce_a"}, manifest="[plugin.a]\nhooks=['on_alias_change']", mce_a=SAYS)
    seen: list[Any] = []
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True) as kernel:
        kernel.plugins.activate("a")
        kernel.hooks.register_hook("listen", seen.append, [HookEvent.AFTER_CONFIG_UPDATE])
        kernel.settings.update({"plugins.a.path": "x"})
        kernel.settings.update({"quiet": False})
        kernel.settings.update({"storage.verify": "full"})
    assert [(context.changed_keys, context.needs_restart) for context in seen] == [
        (("plugins.a.path",), ("plugins.a",)),
        (("quiet",), ("quiet",)),
        (("storage.verify",), ()),
    ]
    del sys.modules["mce_a"]


def test_reconfigure_may_leave_out_either_argument_and_take_no_other(tmp_path: Path) -> None:
    class Takes:
        seen: ClassVar[list[Any]] = []

        def reconfigure(self, new: Any) -> None:
            self.seen.append(dict(new))

        from model_checkpoint.hooks import hookimpl

        @hookimpl
        def on_run_end(self) -> None: ...

    class Wrong(Takes):
        name = "wrong"

        def reconfigure(self, before: Any, after: Any) -> None: ...  # type: ignore[override]

    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True, register=[Takes()]) as kernel:
        kernel.settings.update({"plugins.Takes.path": "x"})
        assert Takes.seen == [{"path": "x"}]
        kernel.plugins.add(Wrong())
        with pytest.raises(ConfigProblems, match="its reconfigure takes old, new and nothing else"):
            kernel.settings.update({"plugins.wrong.path": "x"})
        assert kernel.config.generation == 1


def test_a_secret_is_masked_wherever_it_was_written_and_whatever_it_is_called(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        from dataclasses import dataclass
        from model_checkpoint.common.secrets import Secret
        from model_checkpoint.hooks import hookimpl

        @dataclass(frozen=True)
        class Config:
            webhook: Secret | None = None
            room: str = ""

        @hookimpl
        def on_run_end(): ...
    """
    install("mce-a", {"a": "mce_a"}, manifest="[plugin.a]\nhooks=['on_run_end']", mce_a=source)
    (tmp_path / "mce.toml").write_text("[plugins.a]\nwebhook = 'https://LEAK'\nroom = 'lab'\n")
    monkeypatch.chdir(tmp_path)
    rows = {row.key: row.value for row in show_config(Kernel.prepare(quiet=True))}
    assert (rows["plugins.a.webhook"], rows["plugins.a.room"]) == ("***", "lab")
    (tmp_path / "mce.toml").write_text("[plugins.a]\nwebhook = 'env:HOOK'\n")
    assert {row.key: row.value for row in show_config(Kernel.prepare(quiet=True))}["plugins.a.webhook"] == "env:HOOK"
