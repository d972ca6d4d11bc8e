"""Which adapter an object gets, and that no framework is imported for it."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from typing import Any

import pytest

from model_checkpoint.contracts import FrameworkAdapterDescriptor
from model_checkpoint.kernel.adapters import AdapterSet
from model_checkpoint.plugins import Registry


class Adapter:
    """Claims objects of the classes it was made for."""

    def __init__(self, name: str, *claimed: type) -> None:
        self.name, self.claimed = name, claimed

    def claims(self, obj: object) -> bool:
        return isinstance(obj, self.claimed)


class Made:
    """A set of adapters, and a note of those that were created."""

    def __init__(self) -> None:
        self.created: list[str] = []
        self.table: Registry[FrameworkAdapterDescriptor] = Registry("adapter")
        self.adapters = AdapterSet(self.table)

    def add(self, name: str, packages: tuple[str, ...], *claimed: type) -> None:
        def create() -> Any:
            self.created.append(name)
            return Adapter(name, *claimed)

        self.table.add(name, FrameworkAdapterDescriptor(name, packages, create), "plugin")

    def named(self, obj: object) -> str | None:
        found = self.adapters.for_object(obj)
        return found.name if found else None


@pytest.fixture
def made() -> Made:
    return Made()


def test_an_object_gets_the_adapter_of_its_package(made: Made) -> None:
    made.add("numbers", ("fractions",), Fraction)
    made.add("others", ("nothing",), object)
    assert made.named(Fraction(1, 2)) == "numbers"
    assert made.named({"a": 1}) is None
    assert made.created == ["numbers"]


def test_a_subclass_from_elsewhere_gets_the_adapter_of_its_base_s_package(made: Made) -> None:
    class Third(Fraction):
        pass

    made.add("numbers", ("fractions",), Fraction)
    assert made.named(Third(1, 3)) == "numbers"


def test_adapters_for_any_package_are_asked_last(made: Made) -> None:
    made.add("any", (), Fraction, set)
    made.add("numbers", ("fractions",), Fraction)
    assert made.named(Fraction(1, 2)) == "numbers"
    assert made.named({1}) == "any"


def test_what_its_package_s_adapter_does_not_claim_goes_on_to_the_general_ones(made: Made) -> None:
    made.add("numbers", ("fractions",), set)
    made.add("any", (), Fraction)
    assert made.named(Fraction(1, 2)) == "any"


def test_an_adapter_is_created_once(made: Made) -> None:
    made.add("numbers", ("fractions",), Fraction)
    first = made.adapters.for_object(Fraction(1, 2))
    assert first is made.adapters.for_object(Fraction(3, 4))
    assert first is made.adapters.named("numbers") is made.adapters.for_package("fractions")
    assert made.created == ["numbers"]


def test_an_unknown_name_or_package_has_none(made: Made) -> None:
    made.add("numbers", ("fractions",), Fraction)
    assert made.adapters.named("other") is None
    assert made.adapters.for_package("other") is None
    assert made.created == []


def test_only_adapters_whose_framework_is_in_use_are_loaded(made: Made) -> None:
    made.add("numbers", ("fractions",), Fraction)
    made.add("absent", ("no_such_package",), object)
    made.add("any", (), object)
    assert list(made.adapters.loaded()) == ["numbers"]
    assert made.created == ["numbers"]


def test_a_plugin_that_comes_later_is_found_too(made: Made) -> None:
    assert made.named(Fraction(1, 2)) is None
    made.add("numbers", ("fractions",), Fraction)
    assert made.named(Fraction(1, 2)) == "numbers"


def test_saving_plain_values_imports_no_framework() -> None:
    program = (
        "import sys\n"
        "from model_checkpoint.kernel import Kernel\n"
        "with Kernel.open('sqlite:///:memory:', storage_backend='memory', quiet=True) as kernel:\n"
        "    kernel.load(kernel.save({'a': [1, 2.5, {'b': None}]}))\n"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
