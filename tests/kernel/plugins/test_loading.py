"""Loading plugins: each alone with its failure, and what one provides is entered whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.contracts import AnalyzerDescriptor
from model_checkpoint.errors import (
    ConfigurationError,
    KernelError,
    PluginConflictError,
    PluginLoadError,
    UnknownBackendError,
)
from model_checkpoint.hooks import HookEvent, HookManager
from model_checkpoint.kernel import Kernel, hookimpl
from model_checkpoint.plugins import PluginInfo, PluginSet, PluginState, discover, label_of
from model_checkpoint.plugins.activation import DESCRIPTORS
from model_checkpoint.plugins.registry import OTHER_KINDS

Install = Callable[..., None]

PROVIDES_TWO = """
    from model_checkpoint.contracts import AnalyzerDescriptor, StorageBackendDescriptor
    from model_checkpoint.hooks import hookimpl

    @hookimpl
    def register_storage_backends(kernel):
        return [StorageBackendDescriptor("brick", lambda root: None)]

    @hookimpl
    def register_analyzers(kernel):
        return [AnalyzerDescriptor({name!r}, lambda: None)]

    @hookimpl
    def after_checkpoint_save(context):
        pass
"""


@pytest.fixture
def plugins() -> Iterator[PluginSet]:
    hooks = HookManager()
    yield PluginSet(hooks, None)
    hooks.close()


def listen(plugins: PluginSet, *events: HookEvent) -> list[Any]:
    seen: list[Any] = []
    plugins._hooks.register_hook("listen", seen.append, events)
    return seen


def load(plugins: PluginSet, *names: str) -> list[PluginInfo]:
    """Load the installed plugins of these names, and return what is known of them."""
    plugins.load_found(plugin for plugin in discover() if plugin.name in names)
    return plugins.list()


class Counts:
    """A script's plugin that provides an analyzer."""

    def __init__(self, *names: str) -> None:
        self.names = names

    @hookimpl
    def register_analyzers(self) -> list[AnalyzerDescriptor]:
        return [AnalyzerDescriptor(name, lambda: None) for name in self.names]  # type: ignore[arg-type, return-value]


def test_an_installed_plugin_is_imported_registered_and_asked_what_it_provides(
    install: Install, plugins: PluginSet
) -> None:
    install("mce-brick", {"brick": "mce_brick"}, version="1.2", mce_brick=PROVIDES_TWO.format(name="count"))
    seen = listen(plugins, HookEvent.BEFORE_PLUGIN_LOAD, HookEvent.AFTER_PLUGIN_LOAD)
    (info,) = load(plugins, "brick")
    assert (info.name, info.version, info.distribution, info.origin) == ("brick", "1.2", "mce-brick", "installed")
    assert (info.state, info.provides) == (PluginState.ACTIVE, ("storage:brick", "analyzer:count"))
    assert plugins.provided.storage.names() == ["brick"]
    assert [(context.event, context.name, context.version) for context in seen] == [
        (HookEvent.BEFORE_PLUGIN_LOAD, "brick", "1.2"), (HookEvent.AFTER_PLUGIN_LOAD, "brick", "1.2"),
    ]  # fmt: skip
    assert seen[1].hooks == ("after_checkpoint_save", "register_analyzers", "register_storage_backends")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def broken(:", "SyntaxError"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("from model_checkpoint.kernel import hookimpl\n@hookimpl\ndef no_such_hook(): pass", "no_such_hook"),
        ("from model_checkpoint.kernel import hookimpl\n@hookimpl\ndef on_run_start(nonsense): pass", "nonsense"),
        (
            "from model_checkpoint.kernel import hookimpl\n@hookimpl\ndef register_analyzers(kernel): return ['count']",
            "its register_analyzers returned a str, not a AnalyzerDescriptor",
        ),
        (
            "from model_checkpoint.kernel import hookimpl\n@hookimpl\ndef register_analyzers(kernel): return 3",
            "TypeError: 'int' object is not iterable",
        ),
    ],
)
def test_a_plugin_that_cannot_be_loaded_fails_alone(
    install: Install, plugins: PluginSet, source: str, error: str
) -> None:
    install("mce-bad", {"bad": "mce_bad"}, mce_bad=source)
    install("mce-good", {"good": "mce_good"}, mce_good=PROVIDES_TWO.format(name="count"))
    seen = listen(plugins, HookEvent.ON_PLUGIN_ERROR)
    bad, good = load(plugins, "bad", "good")
    assert (bad.state, good.state) == (PluginState.FAILED, PluginState.ACTIVE)
    assert error in bad.error
    assert bad.provides == ()
    assert [(context.plugin, context.hook) for context in seen] == [("bad", "load")]


def test_a_plugin_that_provides_a_taken_name_is_withdrawn_entirely(install: Install, plugins: PluginSet) -> None:
    install("mce-one", {"one": "mce_one"}, mce_one=PROVIDES_TWO.format(name="count").replace("brick", "stone"))
    install("mce-two", {"two": "mce_two"}, mce_two=PROVIDES_TWO.format(name="count"))
    one, two = load(plugins, "one", "two")
    assert (one.state, two.state) == (PluginState.ACTIVE, PluginState.FAILED)
    assert "plugins 'one' and 'two' both provide the analyzer 'count': uninstall one of them" in two.error
    assert plugins.provided.storage.names() == ["stone"]
    assert plugins._hooks.hooks_of("two") == ()
    assert "after_checkpoint_save" in plugins._hooks.hooks_of("one")


def test_of_two_plugins_with_one_name_the_first_stays_and_the_second_is_told_whose_it_is(
    install: Install, plugins: PluginSet
) -> None:
    install("mce-one", {"same": "mce_one"}, mce_one="")
    install("mce-two", {"same": "mce_two"}, mce_two="1 / 0")
    first, second = load(plugins, "same")
    assert (first.name, first.distribution, first.state) == ("same", "mce-one", PluginState.ACTIVE)
    assert (second.name, second.state) == ("same (mce-two)", PluginState.FAILED)
    assert second.error == "the name 'same' belongs to the distribution mce-one: rename the entry point"


def test_a_name_that_the_script_took_early_is_said_to_be_the_script_s(install: Install, plugins: PluginSet) -> None:
    install("mce-late", {"late": "mce_late"}, mce_late="")
    plugins.add(Counts(), "late")
    load(plugins, "late")
    info = plugins.get("late (mce-late)")
    assert info is not None
    assert info.error == "the name 'late' belongs to a plugin that the script added: rename the entry point"


def test_a_veto_disables_a_plugin_before_it_is_imported(install: Install, plugins: PluginSet) -> None:
    install("mce-bad", {"bad": "mce_bad"}, mce_bad="1 / 0")
    plugins._hooks.register_hook("guard", lambda context: False, [HookEvent.BEFORE_PLUGIN_LOAD])
    (info,) = load(plugins, "bad")
    assert info.state is PluginState.DISABLED
    assert info.error


def test_a_script_s_object_is_known_by_its_own_name_else_by_its_class(plugins: PluginSet) -> None:
    class Named(Counts):
        name = "mine"

    assert plugins.add(Counts("a")) == "Counts"
    assert plugins.add(Named("b")) == "mine"
    assert plugins.add(Counts("c"), name="third") == "third"
    assert [info.origin for info in plugins.list()] == ["script"] * 3
    assert label_of(pytest) == "pytest"


def test_an_object_added_again_under_its_name_replaces_the_first_as_a_notebook_cell_does(plugins: PluginSet) -> None:
    plugins.add(Counts("a", "b"))
    plugins.add(Counts("b", "c"))
    assert plugins.provided.analyzers.names() == ["b", "c"]


def test_an_object_that_cannot_be_registered_raises_with_the_reason(plugins: PluginSet) -> None:
    plugins.add(Counts("a"))
    with pytest.raises(
        PluginLoadError, match=r"plugin 'other' cannot be used: plugins 'Counts' and 'other' both .* 'a'"
    ) as refused:
        plugins.add(Counts("x", "a"), "other")
    assert isinstance(refused.value.__cause__, PluginConflictError)
    assert plugins.provided.analyzers.names() == ["a"]
    assert plugins.add(Counts("x"), "other") == "other"


def test_an_object_never_takes_the_place_of_an_installed_plugin(install: Install, plugins: PluginSet) -> None:
    install("mce-good", {"good": "mce_good"}, mce_good=PROVIDES_TWO.format(name="count"))
    load(plugins, "good")
    with pytest.raises(
        PluginConflictError, match="'good' belongs to the distribution mce-good: add the plugin with name="
    ):
        plugins.add(Counts(), "good")
    assert plugins.provided.analyzers.names() == ["count"]


def test_a_plugin_that_fails_leaves_a_script_s_hook_of_its_name_alone(plugins: PluginSet) -> None:
    seen = listen(plugins, HookEvent.ON_ALIAS_CHANGE)
    with pytest.raises(PluginLoadError, match="listen"):
        plugins.add(Counts("a"), "listen")
    plugins._hooks.fire(HookEvent.ON_ALIAS_CHANGE, alias="prod")
    assert len(seen) == 1


def opened(folder: Path, **options: Any) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", quiet=True, **options)


def test_a_kernel_opens_although_an_installed_plugin_is_broken(install: Install, tmp_path: Path) -> None:
    install("mce-bad", {"bad": "mce_bad"}, mce_bad="raise SystemExit")
    with opened(tmp_path) as kernel:
        assert kernel.plugins.get("bad").state is PluginState.FAILED  # type: ignore[union-attr]
        assert kernel.load(kernel.save({"a": 1}))["a"] == 1


def test_a_kernel_loads_all_the_built_in_or_the_named_plugins(install: Install, tmp_path: Path) -> None:
    install("mce-brick", {"brick": "mce_brick"}, mce_brick=PROVIDES_TWO.format(name="count"))
    with opened(tmp_path) as kernel:
        assert "brick" in kernel.plugins.provided.storage.names()
    with opened(tmp_path, plugins="builtin") as kernel:
        assert "brick" not in kernel.plugins.provided.storage.names()
    with opened(tmp_path, plugins=["sqlite", "memory"], storage_backend="memory") as kernel:
        assert [info.name for info in kernel.plugins.list()] == ["memory", "sqlite"]
    with pytest.raises(KernelError, match=r"no plugin is called sqlit; installed: .*sqlite"):
        opened(tmp_path, plugins="sqlit")
    with pytest.raises(UnknownBackendError, match="Known: none"):
        opened(tmp_path, plugins=[])


def test_two_objects_of_one_name_in_one_open_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="two of the objects to register are called 'Counts'"):
        opened(tmp_path, register=[Counts("a"), Counts("b")])
    assert Kernel.open_kernels() == []


class Thing:
    def __init__(self, name: object) -> None:
        self.name = name


@pytest.mark.parametrize("hook", [hook for hook in OTHER_KINDS if hook not in DESCRIPTORS])
def test_each_kind_of_thing_is_asked_for_and_entered_at_activation(plugins: PluginSet, hook: str) -> None:
    def register(self: object, kernel: object) -> list[Thing]:
        return [Thing("mine")]

    provider = type("Provider", (), {hook: hookimpl(register)})()
    plugins.add(provider)
    info = plugins.get("Provider")
    assert info is not None
    assert info.provides == (f"{OTHER_KINDS[hook]}:mine",)


@pytest.mark.parametrize("thing", [Thing(""), Thing(3), "text"], ids=["no name", "a number", "no descriptor"])
def test_what_is_no_descriptor_is_refused_in_words(plugins: PluginSet, thing: object) -> None:
    class Provider:
        @hookimpl
        def register_notifiers(self) -> list[object]:
            return [thing]

    with pytest.raises(PluginLoadError, match=r"its register_notifiers returned a .* without a name"):
        plugins.add(Provider())
    assert plugins.provided.others["register_notifiers"].names() == []
