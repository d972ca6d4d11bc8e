"""Numpy's random generators as state, checked before numpy's C code relies on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model_checkpoint.contracts import Mismatches
from model_checkpoint.errors import StateDecodeError

GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_LARGEST = {"pos": 624, "buffer_pos": 4}
"""Where the next number comes from: numpy reads there without looking."""


def state_of(generator: Any) -> dict[str, Any]:
    """Return the whole state, drawing nothing."""
    if isinstance(generator, np.random.RandomState):
        return dict(generator.get_state(legacy=False))
    holder = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
    return dict(holder.state)


def check(generator: Any, state: object) -> Mismatches:
    """Compare the kind of generator, and the form of the state."""
    if not isinstance(state, dict):
        return Mismatches(mismatched={"": f"{type(state).__name__} stored, a generator's state is needed"})
    live = state_of(generator)
    if state.get("bit_generator") != live["bit_generator"]:
        why = f"{state.get('bit_generator')} stored, {live['bit_generator']} live"
        return Mismatches(mismatched={"bit_generator": why})
    return Mismatches(mismatched=dict.fromkeys(_malformed(state, live, ""), "malformed"))


def restore(generator: Any, state: Mapping[str, Any]) -> None:
    """Set the state. Raises ``StateDecodeError`` where numpy could not go on from it."""
    if wrong := check(generator, state).mismatched:
        raise StateDecodeError(f"a stored random state of numpy cannot be used: {dict(wrong)}")
    if isinstance(generator, np.random.RandomState):
        generator.set_state(dict(state))
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = dict(state)
    else:
        generator.state = dict(state)


def _malformed(state: Mapping[str, Any], live: Mapping[str, Any], path: str) -> list[str]:
    """Return the keys whose values are not what they are in a live state of the same kind."""
    wrong = [f"{path}{key}" for key in live.keys() ^ state.keys()]
    for key in live.keys() & state.keys():
        value, pattern = state[key], live[key]
        if isinstance(pattern, dict):
            inner = _malformed(value, pattern, f"{path}{key}.") if isinstance(value, dict) else [f"{path}{key}"]
            wrong += inner
        elif isinstance(pattern, np.ndarray):
            same = isinstance(value, np.ndarray) and (value.dtype, value.shape) == (pattern.dtype, pattern.shape)
            wrong += [] if same else [f"{path}{key}"]
        elif type(value) is not type(pattern) or (key in _LARGEST and not 0 <= value <= _LARGEST[key]):
            wrong.append(f"{path}{key}")
    return sorted(wrong)
