"""Which plugins may be loaded at all; each refusal says in a sentence what to do."""

from __future__ import annotations

from typing import Any

import pytest

from model_checkpoint.plugins import FoundPlugin, PluginState, Policy
from model_checkpoint.plugins.manifest import Manifest
from model_checkpoint.plugins.policy import refusals


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
