"""Random generators of numpy go on where they stood, and only from states that numpy can read without harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model_checkpoint.checkpoint.capture import check, restore_into
from model_checkpoint.errors import StateDecodeError
from model_checkpoint.kernel.adapters import AdapterSet

Stored = Callable[[object], Any]
KINDS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]


def draws(generator: Any) -> list[object]:
    if isinstance(generator, np.random.BitGenerator):
        return list(generator.random_raw(5))
    if isinstance(generator, np.random.RandomState):
        return [generator.rand(), generator.randn(), generator.randint(100)]
    return [generator.random(), generator.normal(), int(generator.integers(100, dtype=np.int32))]


@pytest.mark.parametrize(
    "wrap", [np.random.Generator, np.random.RandomState, lambda bits: bits], ids=["new", "old", "bits"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_goes_on_where_it_stood(
    kind: Callable[[int], Any], wrap: Callable[[Any], Any], adapters: AdapterSet, stored: Stored
) -> None:
    source, live = wrap(kind(1)), wrap(kind(2))
    for _ in range(3):  # leaves half a normal pair and half a word behind
        draws(source)
    state = stored(source)
    expected = [draws(source) for _ in range(3)]
    assert not check(live, state, adapters)
    restore_into(live, state, adapters, strict=True)
    assert [draws(live) for _ in range(3)] == expected
    assert stored(source) is not state


def test_another_kind_of_generator_is_refused(adapters: AdapterSet, stored: Stored) -> None:
    live = np.random.Generator(np.random.MT19937(1))
    before = stored(live)
    state = stored(np.random.default_rng(1))
    assert check(live, state, adapters).mismatched == {"bit_generator": "PCG64 stored, MT19937 live"}
    restore_into(live, state, adapters, strict=False)
    assert str(stored(live)) == str(before)
    with pytest.raises(StateDecodeError, match="PCG64 stored"):
        restore_into(live, state, adapters, strict=True)


@pytest.mark.parametrize(("kind", "change"), [
    (np.random.MT19937, {"state": {"key": np.zeros(624, np.uint32), "pos": 625}}),
    (np.random.MT19937, {"state": {"key": np.zeros(624, np.uint32), "pos": -1}}),
    (np.random.MT19937, {"state": {"key": np.zeros(10, np.uint32), "pos": 0}}),
    (np.random.MT19937, {"state": {"key": [0] * 624, "pos": 0}}), (np.random.MT19937, {"state": 3}),
    (np.random.Philox, {"buffer_pos": 5}), (np.random.Philox, {"buffer_pos": -1}),
    (np.random.Philox, {"buffer_pos": "0"}), (np.random.SFC64, {"state": {}}),
    (np.random.Philox, {"buffer": np.zeros(3, np.uint64)}), (np.random.PCG64, {"state": {"state": 1}}),
    (np.random.PCG64, {"extra": 1}), (np.random.PCG64, {"has_uint32": None}),
])  # fmt: skip
def test_a_state_that_numpy_would_read_past_never_reaches_it(
    kind: Callable[[int], Any], change: dict[str, object], adapters: AdapterSet
) -> None:
    for live in (kind(1), np.random.Generator(kind(1))):
        state = {**kind(1).state, **change}
        assert set(check(live, state, adapters).mismatched.values()) == {"malformed"}
        with pytest.raises(StateDecodeError):
            restore_into(live, state, adapters, strict=True)


@pytest.mark.parametrize("state", [None, 3, [], "PCG64"])
def test_what_is_no_state_is_refused(state: object, adapters: AdapterSet) -> None:
    assert check(np.random.default_rng(1), state, adapters).mismatched
