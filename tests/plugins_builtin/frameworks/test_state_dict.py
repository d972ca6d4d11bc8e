"""Any object with state_dict() and load_state_dict() is captured, and may say beforehand what it would refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from model_checkpoint.checkpoint.capture import check, restore_into
from model_checkpoint.contracts import Buffer
from model_checkpoint.errors import StateDecodeError, UnstorableStateError
from model_checkpoint.frameworks.state_dict_adapter import StateDictAdapter
from model_checkpoint.kernel.adapters import AdapterSet

Stored = Callable[[object], Any]


class Counter:
    def __init__(self, n: int = 0) -> None:
        self.n = n

    def state_dict(self) -> dict[str, object]:
        return {"n": self.n, "history": (1, {2: 3})}

    def load_state_dict(self, state: Any) -> None:
        assert state["history"] == (1, {2: 3})
        self.n = state["n"]


class Careful(Counter):
    def check_state_dict(self, state: Any) -> dict[str, str]:
        return {} if state["n"] < 10 else {"n": f"{state['n']} is too many"}


def test_an_object_is_restored_by_its_own_methods(adapters: AdapterSet, stored: Stored) -> None:
    live = Counter()
    assert not check(live, stored(Counter(5)), adapters)
    restore_into(live, stored(Counter(5)), adapters, strict=True)
    assert live.n == 5


def test_what_the_object_has_against_a_state_is_told_before_anything_changes(
    adapters: AdapterSet, stored: Stored
) -> None:
    live, state = Careful(1), stored(Counter(10))
    assert check(live, state, adapters).mismatched == {"n": "10 is too many"}
    restore_into(live, state, adapters, strict=False)
    assert live.n == 1
    restore_into(live, stored(Counter(9)), adapters, strict=False)
    assert live.n == 9


def test_classes_and_half_of_the_convention_are_not_claimed(adapters: AdapterSet) -> None:
    class Half:
        def state_dict(self) -> dict[str, object]:
            return {}

    class Named:
        state_dict = load_state_dict = None

    assert [adapters.for_object(value) for value in (Counter, Half(), Named(), 3, {})] == [None] * 5


def test_an_unstorable_part_of_its_state_is_named(adapters: AdapterSet, stored: Stored) -> None:
    with pytest.raises(UnstorableStateError) as refused:
        stored(Counter(print))  # type: ignore[arg-type]
    assert [path for path, _ in refused.value.problems] == ["x.n"]


def test_it_rebuilds_nothing_of_its_own() -> None:
    adapter = StateDictAdapter()
    assert adapter.view(3) is None
    assert adapter.capture_rng() is None
    adapter.restore_rng(None)
    with pytest.raises(StateDecodeError):
        adapter.from_leaf("x.y", 1)
    with pytest.raises(StateDecodeError):
        adapter.from_buffer(Buffer("b", "uint8", (0,), memoryview(b"")), None)
    with pytest.raises(StateDecodeError):
        adapter.from_view(None, dtype="x", shape=(), strides=None, offset=0, attributes={})


def test_a_state_without_tensors_is_saved_and_loaded_without_importing_a_framework(tmp_path: Any) -> None:
    program = """
import sys
from model_checkpoint.kernel import Kernel

class Thing:
    n = 3
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

thing = Thing()
with Kernel.open("sqlite:///e.db", storage_backend="memory", quiet=True) as kernel:
    saved = kernel.save({"thing": thing, "plain": {"a": [1]}})
    thing.n = 4
    kernel.load(saved, into={"thing": thing})
assert thing.n == 3
assert "torch" not in sys.modules, "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
