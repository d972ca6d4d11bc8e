"""Which plugins may be loaded at all; each refusal says in a sentence what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.errors import PluginError
from model_checkpoint.hooks import HookManager
from model_checkpoint.plugins import FoundPlugin, PluginSet, PluginState, PluginStates, Policy, discover
from model_checkpoint.plugins.manifest import Manifest
from model_checkpoint.plugins.policy import refusals
from model_checkpoint.plugins.requirements import fits


def plugin(name: str = "s3", distribution: str = "mce-s3", version: str = "1.0", **more: Any) -> FoundPlugin:
    return FoundPlugin(name, "m", distribution, version, lambda: None, **more)


BUILTIN = plugin("vault", "model-checkpoint-engine")


def verdict(found: FoundPlugin, policy: Policy) -> tuple[str, str]:
    refusal = refusals([found], policy).get(found.name)
    return (refusal.state, refusal.reason) if refusal else ("admitted", "")


def test_by_default_everybody_is_admitted() -> None:
    assert verdict(plugin(), Policy())[0] == verdict(BUILTIN, Policy())[0] == "admitted"


def test_safe_mode_admits_the_built_ins_or_none() -> None:
    assert verdict(plugin(), Policy(safe_mode="builtin")) == (
        PluginState.REFUSED,
        "safe mode is 'builtin': unset MCE_SAFE_MODE to load it",
    )
    assert verdict(BUILTIN, Policy(safe_mode="builtin"))[0] == "admitted"
    assert verdict(BUILTIN, Policy(safe_mode="none"))[0] == PluginState.REFUSED


def test_with_listed_trust_only_listed_plugins_of_others_are_admitted() -> None:
    state, reason = verdict(plugin(), Policy(trust="listed", trusted=frozenset({"gcs"})))
    assert state == PluginState.REFUSED
    assert "trusted_plugins does not name it: add 's3' there" in reason
    assert verdict(plugin(), Policy(trust="listed", trusted=frozenset({"s3"})))[0] == "admitted"
    assert verdict(BUILTIN, Policy(trust="listed"))[0] == "admitted"


def test_a_disabled_plugin_says_how_it_is_enabled() -> None:
    policy = Policy(disabled={"s3": "disabled (too slow): mce plugins enable s3"})
    assert verdict(plugin(), policy) == (PluginState.DISABLED, "disabled (too slow): mce plugins enable s3")


def test_versions_known_to_be_bad_are_blocked_and_others_are_not() -> None:
    policy = Policy(blocked=(("mce-s3", "<1.1", "it loses the last part of an upload"),))
    assert verdict(plugin(version="1.0"), policy) == (
        PluginState.BLOCKED,
        "mce-s3<1.1 is blocked: it loses the last part of an upload; install another version",
    )
    assert verdict(plugin(version="1.1"), policy)[0] == "admitted"
    assert verdict(plugin(distribution="other"), policy)[0] == "admitted"


@pytest.mark.parametrize(("wanted", "fits"), [("", True), (">=1.0,<2", True), (">=1.0.dev1", True), (">=2", False)])
def test_the_kernel_api_that_a_plugin_is_made_for_must_fit(wanted: str, fits: bool) -> None:
    state, reason = verdict(plugin(manifest=Manifest(kernel_api=wanted)), Policy())
    assert (state == "admitted") is fits
    assert fits or reason.startswith("it is made for kernel API >=2, and this is 1.0: install a version of mce-s3")


def test_what_is_wrong_with_a_manifest_is_the_reason() -> None:
    assert verdict(plugin(problem="plugin.toml: no TOML"), Policy()) == (PluginState.REFUSED, "plugin.toml: no TOML")


Install = Callable[..., None]


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[PluginSet]:
    hooks = HookManager()
    yield PluginSet(hooks, None, states=PluginStates(tmp_path / "plugins.json"))
    hooks.close()


def test_one_that_is_kept_disabled_and_gone_can_be_forgotten(plugins: PluginSet) -> None:
    plugins._states.disable("gone", "too slow")
    assert plugins.left_disabled() == {"gone": "too slow"}
    assert plugins.enable("gone") is None
    assert plugins.left_disabled() == {}
    with pytest.raises(PluginError, match="no plugin is called 'gone'"):
        plugins.enable("gone")


def test_what_cannot_be_loaded_is_said_in_the_log_unless_somebody_chose_it(
    install: Install, plugins: PluginSet, caplog: pytest.LogCaptureFixture
) -> None:
    install("mce-a", {"a": "mce_a"}, manifest="[plugin.a]\nhooks=['on_run_end']\nrequires=['absent']", mce_a="")
    install("mce-b", {"b": "mce_b"}, mce_b="1 / 0")
    install("mce-c", {"c": "mce_c"}, mce_c="")
    found = [plugin for plugin in discover() if plugin.name in "abc"]
    plugins.load_found(found, Policy(disabled={"c": "disabled by the user: mce plugins enable c"}))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("plugin a is not loaded: needs absent")
    assert said[1].startswith("plugin b cannot be used, and nothing of it is called: ZeroDivisionError")


@pytest.mark.parametrize(
    ("version", "specifier", "does"),
    [("1.2", ">=1", True), ("1.2rc1", "<2", True), ("0.9", ">=1", False), ("no version", ">=1", False),
     ("no version", "", True)],
)  # fmt: skip
def test_what_is_no_version_fits_no_specifier(version: str, specifier: str, does: bool) -> None:
    assert fits(version, specifier) is does
