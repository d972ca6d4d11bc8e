"""The contracts are all to be had by name, and none is imported before it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from model_checkpoint import contracts


@pytest.mark.parametrize("name", contracts.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(contracts, name) is not None


def test_what_is_exported_and_what_is_found_are_the_same() -> None:
    assert set(contracts.__all__) == set(contracts._MODULES)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = contracts.Nothing  # type: ignore[attr-defined]


def test_importing_the_package_imports_no_contract() -> None:
    program = (
        "import sys, model_checkpoint.contracts as c; prefix = c.__name__ + '.';"
        "assert not [m for m in sys.modules if m.startswith(prefix)];"
        "from model_checkpoint.contracts import JSON;"
        "assert [m for m in sys.modules if m.startswith(prefix)] == [prefix + 'state']"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
