"""Turns the objects of a training into one tree of JSON and buffers, and back."""

from __future__ import annotations

from collections.abc import Mapping

from model_checkpoint.checkpoint.rng import capture_rng
from model_checkpoint.checkpoint.services import Adapters
from model_checkpoint.checkpoint.tree import FlatTree, flatten
from model_checkpoint.contracts import Mismatches

OBJECTS, RNG = "objects", "rng"


def capture(objects: Mapping[str, object], adapters: Adapters, *, with_rng: bool = True) -> FlatTree:
    """Return the state of all `objects` and of the random streams. Tensors are views of live memory, not copies.

    Raises ``UnstorableStateError`` listing every leaf that cannot be stored.
    """
    captured: dict[str, object] = {}
    for name, obj in objects.items():
        adapter = adapters.for_object(obj)
        captured[name] = obj if adapter is None else adapter.capture(obj)
    whole: dict[str, object] = {OBJECTS: captured}
    if with_rng:
        whole[RNG] = capture_rng(adapters)
    return flatten(whole, adapters, path="state")


def check(obj: object, state: object, adapters: Adapters) -> Mismatches:
    """Compare a stored state with a live object and change nothing."""
    adapter = adapters.for_object(obj)
    if adapter is not None:
        return adapter.check(obj, state)
    if isinstance(obj, dict | list) and type(obj) is type(state):
        return Mismatches()
    wanted = "a module, an optimizer, anything with state_dict() and load_state_dict(), a dict or a list"
    return Mismatches(
        mismatched={"": f"a {type(state).__name__} cannot be restored into a {type(obj).__name__}; needed: {wanted}"}
    )


def restore_into(obj: object, state: object, adapters: Adapters, *, strict: bool) -> None:
    """Put `state` into `obj`, in place."""
    adapter = adapters.for_object(obj)
    if adapter is not None:
        adapter.restore_into(obj, state, strict=strict)
    elif isinstance(obj, dict) and isinstance(state, dict):
        obj.clear()
        obj.update(state)
    elif isinstance(obj, list) and isinstance(state, list):
        obj[:] = state
