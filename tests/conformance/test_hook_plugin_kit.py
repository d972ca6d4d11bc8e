"""The kit for hook plugins catches a broken plugin for every rule, and blames no other rule for it."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.testing import hook_plugin
from model_checkpoint.testing.hook_plugin import HookPluginTests

PLUGINS = runpy.run_path(str(Path(__file__).with_name("broken_hook_plugins.py")))
BROKEN, WHOLE = PLUGINS["BROKEN"], PLUGINS["Whole"]
RULES = {int(number) for number in re.findall(r"^(\d+)\. ", hook_plugin.__doc__ or "", flags=re.MULTILINE)}
TESTS = {name: test for name, test in vars(HookPluginTests).items() if name.startswith("test_")}


class Kit(HookPluginTests):
    limit_s = 0.2


Kit.__test__ = False  # run by hand below


class TestAWholePlugin(HookPluginTests):
    @pytest.fixture
    def make_plugin(self) -> Callable[[], object]:
        return WHOLE


def rules_failed(make_plugin: Callable[[], object]) -> set[int]:
    """Run every test of the kit on a plugin; return the rules of those that failed."""
    failed, kit = set(), Kit()
    for test in TESTS.values():
        kernel = None
        try:
            wanted = inspect.signature(test).parameters
            kernel = kit.opened(make_plugin) if "kernel" in wanted else None
            given = {"kernel": kernel, "make_plugin": make_plugin}
            test(kit, **{name: value for name, value in given.items() if name in wanted})
        except (Exception, pytest.fail.Exception):
            failed.add(test.rule)
        finally:
            if kernel is not None:
                kernel.close()
    return failed


def test_every_rule_has_a_test_and_a_broken_plugin() -> None:
    assert {test.rule for test in TESTS.values()} == set(BROKEN) == RULES


def test_a_plugin_that_cannot_be_registered_fails_everything() -> None:
    assert rules_failed(BROKEN[1]) == RULES


@pytest.mark.parametrize("number", sorted(set(BROKEN) - {1}), ids=lambda number: f"{number}-{BROKEN[number].__name__}")
def test_a_plugin_that_breaks_one_rule_fails_the_tests_of_this_rule_alone(number: int) -> None:
    assert rules_failed(BROKEN[number]) == {number}
