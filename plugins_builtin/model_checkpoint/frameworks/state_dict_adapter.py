"""Captures whatever follows the convention of ``state_dict()`` and ``load_state_dict()``.

An object may say beforehand what it would refuse: ``check_state_dict(state)`` returns key -> what differs, and changes
nothing. Without it, only ``load_state_dict`` itself knows, and others may have been restored already when it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from model_checkpoint.contracts import JSON, Buffer, Mismatches, TensorView, TypedLeaf
from model_checkpoint.errors import StateDecodeError


def follows_convention(obj: object) -> bool:
    """Say whether `obj` is an object, not a class, with both methods."""
    methods = (getattr(obj, "state_dict", None), getattr(obj, "load_state_dict", None))
    return not isinstance(obj, type) and all(callable(method) for method in methods)


def differences(obj: Any, state: object) -> Mapping[str, str]:
    """Return what the object itself says against `state`: nothing, where it has no ``check_state_dict``."""
    check = getattr(obj, "check_state_dict", None)
    return check(state) if callable(check) else {}


class StateDictAdapter:
    """Asked last, for objects that no framework's own adapter claims."""

    name = "state-dict"

    def claims(self, obj: object) -> bool:
        """Claim what has ``state_dict()`` and ``load_state_dict()``."""
        return follows_convention(obj)

    def capture(self, obj: Any) -> object:
        """Return ``obj.state_dict()``."""
        return obj.state_dict()

    def check(self, obj: Any, state: object) -> Mismatches:
        """Return what the object's own ``check_state_dict`` says."""
        return Mismatches(mismatched=differences(obj, state))

    def restore_into(self, obj: Any, state: object, *, strict: bool) -> None:
        """Call ``obj.load_state_dict(state)``; with ``strict=False`` only where the object has nothing against it."""
        if strict or not differences(obj, state):
            obj.load_state_dict(state)

    def view(self, value: object) -> TensorView | TypedLeaf | None:
        """Know no leaves."""
        return None

    def from_buffer(self, buffer: Buffer, base: object | None) -> NoReturn:
        """Know no tensors."""
        raise StateDecodeError(f"the buffer {buffer.name!r} belongs to no framework that is known here")

    def from_view(
        self,
        base: object,
        *,
        dtype: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        offset: int,
        attributes: Mapping[str, JSON],
    ) -> NoReturn:
        """Know no tensors."""
        raise StateDecodeError(f"a tensor of {attributes.get('as')!r} belongs to no framework that is known here")

    def from_leaf(self, kind: str, value: object) -> NoReturn:
        """Know no leaves."""
        raise StateDecodeError(f"a {kind!r} belongs to no framework that is known here")

    def capture_rng(self) -> object | None:
        """Have no random streams."""
        return None

    def check_rng(self, state: object) -> None:
        """Have no random streams."""

    def restore_rng(self, state: object) -> None:
        """Have no random streams."""
