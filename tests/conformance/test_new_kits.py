"""The kits for codecs, analyzers, commands and adapters catch what breaks a rule, and blame no other rule for it."""

from __future__ import annotations

import itertools
import runpy
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_checkpoint.contracts import framework
from model_checkpoint.testing import analyzer, codec, command, framework_adapter
from model_checkpoint.testing.analyzer import AnalyzerTests
from model_checkpoint.testing.codec import CodecTests
from model_checkpoint.testing.command import CommandTests
from model_checkpoint.testing.framework_adapter import FrameworkAdapterTests

HERE = Path(__file__).parent
KITS = runpy.run_path(str(HERE / "kits.py"))
ANALYZERS = runpy.run_path(str(HERE / "broken_analyzers.py"))
CODECS = runpy.run_path(str(HERE / "broken_codecs.py"))
COMMANDS = runpy.run_path(str(HERE / "broken_commands.py"))
ADAPTERS = runpy.run_path(str(HERE / "broken_framework_adapters.py"))


class Codecs(CodecTests):
    dtypes = ("bool", "int8", "uint16", "int64", "float32", "float64")


class Commands(CommandTests):
    limit_s = 0.2


class Adapters(FrameworkAdapterTests):
    def draw(self) -> object:
        return float(np.random.random())


for _kit in (Codecs, Commands, Adapters):
    _kit.__test__ = False  # type: ignore[attr-defined] # run by hand below


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Callable[[], dict[str, object]]]:
    """What the tests of a kit are given for a plugin: anew for each of them, in an empty folder."""
    numbers = itertools.count()

    def of(kind: str, plugin: Any) -> Callable[[], dict[str, object]]:
        def make() -> dict[str, object]:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            monkeypatch.chdir(folder)
            return {
                "analyzer": lambda: {"create": plugin},
                "codec": lambda: {"codec": plugin(), "target": CODECS["target_of"](folder), "tmp_path": folder},
                "command": lambda: {"descriptor": plugin(), "ordinary": COMMANDS["ORDINARY"], "folder": folder},
                "adapter": lambda: {
                    "make_adapter": plugin,
                    "makers": ADAPTERS["MAKERS"],
                    "leaves": ADAPTERS["LEAVES"],
                },
            }[kind]()

        return make

    return of


CASES = {
    "analyzer": (AnalyzerTests, analyzer, ANALYZERS["BROKEN"], ANALYZERS["StreamingAggregates"]),
    "codec": (Codecs, codec, CODECS["BROKEN"], CODECS["whole"]),
    "command": (Commands, command, COMMANDS["BROKEN"], COMMANDS["whole"]),
    "adapter": (Adapters, framework, ADAPTERS["BROKEN"], ADAPTERS["Whole"]),
}
BROKEN = [(kind, number) for kind, (_, _, broken, _) in CASES.items() for number in broken]


def kit_of(kind: str) -> type:
    """Return the class in which the tests of a kind's kit stand, with what this file says of it."""
    kit: Any = CASES[kind][0]
    base = kit.__mro__[0] if kit is AnalyzerTests else kit.__mro__[1]
    return type(kit.__name__, (kit,), {**KITS["tests_of"](base), "__test__": False})


@pytest.mark.parametrize("kind", CASES)
def test_every_rule_has_a_test_and_a_broken_plugin(kind: str) -> None:
    _, module, broken, _ = CASES[kind]

    assert {test.rule for test in KITS["tests_of"](kit_of(kind)).values()} == set(broken) == KITS["rules_of"](module)


@pytest.mark.parametrize("kind", CASES)
def test_what_is_whole_fails_no_rule(kind: str, given: Any) -> None:
    assert KITS["rules_failed"](kit_of(kind), given(kind, CASES[kind][3])) == {}


@pytest.mark.parametrize(("kind", "number"), BROKEN)
def test_what_breaks_one_rule_fails_the_tests_of_this_rule_alone(kind: str, number: int, given: Any) -> None:
    failed = KITS["rules_failed"](kit_of(kind), given(kind, CASES[kind][2][number]))

    assert set(failed) == {number}, failed


def test_the_kit_for_adapters_names_the_contract_whose_rules_it_tests() -> None:
    assert "model_checkpoint.contracts.framework" in (framework_adapter.__doc__ or "")


def test_what_fails_in_a_kit_shows_its_values(tmp_path: Path) -> None:
    program = """
        import pytest
        from model_checkpoint.testing import AnalyzerTests

        class Silent:
            def observe(self, name, value, step=None): ...
            def report(self):
                return {"said": "nothing"}

        class TestSilent(AnalyzerTests):
            @pytest.fixture
            def create(self):
                return Silent
    """
    (tmp_path / "test_silent.py").write_text(textwrap.dedent(program))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "step", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert """'{"said": "nothing"}' != '{"said": "nothing"}'""" in done.stdout
