"""The kit for save decisions catches what breaks a rule, and blames no other rule for it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.contracts import SaveDecisionDescriptor, cadence
from model_checkpoint.testing import save_decision
from model_checkpoint.testing.save_decision import SaveDecisionTests

HERE = Path(__file__).parent
KITS = runpy.run_path(str(HERE / "kits.py"))
DECISIONS: dict[str, Any] = runpy.run_path(str(HERE / "broken_save_decisions.py"), run_name="broken_save_decisions")


class Decisions(SaveDecisionTests):
    __test__ = False  # run by hand below
    arguments, wrong = DECISIONS["ARGUMENTS"], DECISIONS["WRONG"]


@pytest.fixture(autouse=True)
def _can_be_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pickle find the classes that were run from a path."""
    import sys
    from types import ModuleType

    module = ModuleType("broken_save_decisions")
    vars(module).update(DECISIONS)
    monkeypatch.setitem(sys.modules, "broken_save_decisions", module)


def failed(plugin: Callable[[], SaveDecisionDescriptor]) -> dict[int, str]:
    kit = type("Kit", (Decisions,), KITS["tests_of"](SaveDecisionTests))
    given = {"saves": DECISIONS["SAVES"], "saves_not": DECISIONS["SAVES_NOT"]}
    rules: dict[int, str] = KITS["rules_failed"](kit, lambda: {"descriptor": plugin(), **given})
    return rules


def test_every_rule_has_a_test_and_a_broken_decision() -> None:
    rules = {int(number) for number in KITS["re"].findall(r"^ +(\d+)\. ", cadence.SaveDecision.__doc__, 8)}

    assert {test.rule for test in KITS["tests_of"](SaveDecisionTests).values()} == set(DECISIONS["BROKEN"]) == rules


def test_what_is_whole_fails_no_rule() -> None:
    assert failed(DECISIONS["whole"]) == {}


@pytest.mark.parametrize("number", DECISIONS["BROKEN"])
def test_what_breaks_one_rule_fails_the_tests_of_this_rule_alone(number: int) -> None:
    assert set(found := failed(DECISIONS["BROKEN"][number])) == {number}, found


def test_the_kit_names_the_contract_whose_rules_it_tests() -> None:
    assert "model_checkpoint.contracts.cadence" in (save_decision.__doc__ or "")
