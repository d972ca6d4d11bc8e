"""For each rule of the contract an adapter that breaks this one alone: the real one of numpy, with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from model_checkpoint.contracts import FrameworkAdapter, Mismatches
from model_checkpoint.errors import StateDecodeError
from model_checkpoint.frameworks.numpy_adapter import NumpyAdapter


class Parts:
    """An object of two arrays."""

    def __init__(self, seed: int) -> None:
        self.arrays = {"a": np.full(3, seed / 2), "b": np.arange(seed, seed + 4)}


class Whole(NumpyAdapter):
    """Knows what the real one knows, and `Parts` besides."""

    def claims(self, obj: object) -> bool:
        return isinstance(obj, Parts) or super().claims(obj)

    def capture(self, obj: Any) -> object:
        return dict(obj.arrays) if isinstance(obj, Parts) else super().capture(obj)

    def check(self, obj: Any, state: object) -> Mismatches:
        if not isinstance(obj, Parts):
            return super().check(obj, state)
        assert isinstance(state, Mapping)
        missing = tuple(name for name in obj.arrays if name not in state)
        return Mismatches(missing, tuple(name for name in state if name not in obj.arrays))

    def restore_into(self, obj: Any, state: Any, *, strict: bool) -> None:
        if not isinstance(obj, Parts):
            super().restore_into(obj, state, strict=strict)
            return
        for name, array in obj.arrays.items():
            np.copyto(array, state[name])


class CopiesWhatItCaptures(Whole):
    def capture(self, obj: Any) -> object:
        found = super().capture(obj)
        return {name: array.copy() for name, array in found.items()} if isinstance(obj, Parts) else found  # type: ignore[attr-defined]


class ForgetsTheLastOne(Whole):
    def restore_into(self, obj: Any, state: Any, *, strict: bool) -> None:
        last = obj.arrays["b"].copy() if isinstance(obj, Parts) else None
        super().restore_into(obj, state, strict=strict)
        if last is not None:
            np.copyto(obj.arrays["b"], last)


class StopsAtTheFirstDifference(Whole):
    def check(self, obj: Any, state: object) -> Mismatches:
        found = super().check(obj, state)
        return Mismatches(missing=found.missing) if found.missing else found


class MakesTheMemoryAnew(Whole):
    def from_buffer(self, buffer: Any, base: object | None) -> object:
        return super().from_buffer(buffer, None)


class DrawsWhenAsked(Whole):
    def capture_rng(self) -> object:
        state = super().capture_rng()
        np.random.random()
        return state

    def check_rng(self, state: object) -> None:
        if not isinstance(state, Mapping):
            raise StateDecodeError("no state")
        super().check_rng(state)


MAKERS: dict[str, Callable[[int], object]] = {"parts": Parts}
LEAVES = [np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.array(1.5), np.zeros((0, 2)), np.float32(0.5)]
BROKEN: dict[int, Callable[[], FrameworkAdapter]] = {
    1: CopiesWhatItCaptures,
    2: ForgetsTheLastOne,
    3: StopsAtTheFirstDifference,
    4: MakesTheMemoryAnew,
    5: DrawsWhenAsked,
}
