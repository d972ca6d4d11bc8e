"""The framework adapter for numpy. The rules that it keeps are those of ``model_checkpoint.contracts.framework``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model_checkpoint.contracts import JSON, Buffer, Mismatches, TensorView, TypedLeaf
from model_checkpoint.errors import StateDecodeError
from model_checkpoint.frameworks import numpy_arrays, numpy_random
from model_checkpoint.frameworks.numpy_memory import Base


class NumpyAdapter:
    """Arrays are leaves, and places to restore into; random generators are objects."""

    name = "numpy"

    def claims(self, obj: object) -> bool:
        """Claim arrays and random generators. A masked array, whose mask is a second array, is replaced whole."""
        arrays = isinstance(obj, np.ndarray) and not isinstance(obj, np.ma.MaskedArray)
        return arrays or isinstance(obj, numpy_random.GENERATORS)

    def capture(self, obj: Any) -> object:
        """Return the array itself, or the generator's state."""
        return obj if isinstance(obj, np.ndarray) else numpy_random.state_of(obj)

    def check(self, obj: Any, state: object) -> Mismatches:
        """Compare shape and dtype, or the kind of generator."""
        if not isinstance(obj, np.ndarray):
            return numpy_random.check(obj, state)
        why = _difference(state, obj)
        return Mismatches(mismatched={"": why} if why else {})

    def restore_into(self, obj: Any, state: Any, *, strict: bool) -> None:
        """Copy into the array in place, or set the generator's state."""
        if not strict and self.check(obj, state):
            return
        if isinstance(obj, np.ndarray):
            np.copyto(obj, state, casting="no")
        else:
            numpy_random.restore(obj, state)

    def view(self, value: object) -> TensorView | TypedLeaf | None:
        """Describe an array, a scalar or a dtype."""
        return numpy_arrays.view(value)

    def from_buffer(self, buffer: Buffer, base: object | None) -> object:
        """Return the memory of a buffer, made once."""
        return base if base is not None else Base(buffer)

    def from_view(
        self,
        base: object,
        *,
        dtype: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        offset: int,
        attributes: Mapping[str, JSON],
    ) -> object:
        """Return the array that lies in `base`. Raises ``StateDecodeError``."""
        return numpy_arrays.rebuild(base, dtype, shape, strides, offset, attributes)

    def from_leaf(self, kind: str, value: object) -> object:
        """Rebuild a leaf. Raises ``StateDecodeError``."""
        return numpy_arrays.rebuild_leaf(kind, value)

    def capture_rng(self) -> object:
        """Return the state of the stream behind ``np.random``."""
        return dict(np.random.get_state(legacy=False))

    def check_rng(self, state: object) -> None:
        """Raise ``StateDecodeError`` where the stream behind ``np.random`` cannot be put back."""
        if wrong := numpy_random.check(np.random.mtrand._rand, state).mismatched:
            raise StateDecodeError(f"a stored random state of numpy cannot be used: {dict(wrong)}")

    def restore_rng(self, state: Any) -> None:
        """Put the stream behind ``np.random`` back. Raises ``StateDecodeError``."""
        numpy_random.restore(np.random.mtrand._rand, state)


def _difference(stored: object, live: Any) -> str:
    if not isinstance(stored, np.ndarray):
        return f"{type(stored).__name__} stored, an array live"
    for what in ("shape", "dtype"):
        a, b = getattr(stored, what), getattr(live, what)
        if a != b:
            return f"{what} {a} stored, {b} live"
    return "" if live.flags.writeable else "the live array is read-only; give a copy()"
