"""Turns the objects of a training into one tree of JSON and buffers, and back into the live objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from model_checkpoint.checkpoint.rng import capture_rng
from model_checkpoint.checkpoint.tree import FlatTree, flatten
from model_checkpoint.common.leaves import child_path
from model_checkpoint.contracts import FrameworkAdapter, Mismatches
from model_checkpoint.errors import ConfigurationError

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.services import Adapters

OBJECTS, RNG = "objects", "rng"
_NEEDED = (
    "a module, an optimizer, anything with state_dict() and load_state_dict(), a tensor, an array, a dict or a list"
)
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def capture(objects: Mapping[str, object], adapters: Adapters, *, with_rng: bool = True) -> FlatTree:
    """Return the state of all `objects` and of the random streams. Tensors are views of live memory, not copies.

    Buffers and errors name a place as its user knows it: ``model.conv1.weight``. Raises ``UnstorableStateError``
    listing every leaf that cannot be stored.
    """
    captured: dict[str, object] = {}
    for name, obj in objects.items():
        adapter = adapters.for_object(obj)
        captured[name] = obj if adapter is None else adapter.capture(obj)
    whole: dict[str, object] = {OBJECTS: captured}
    if with_rng:
        whole[RNG] = capture_rng(adapters)
    return flatten(whole, adapters, path="state", hidden=(f"state.{OBJECTS}.", "state."))


def check(obj: object, state: object, adapters: Adapters) -> Mismatches:
    """Compare a stored state with a live object, and with every object that a live dict or list holds.

    Changes nothing. In a dict or list, plain values are taken as they are stored and never mismatch.
    """
    if adapters.for_object(obj) is None and not isinstance(obj, dict | list):
        problem = f"a {_kind(state)} cannot be restored into a {_kind(obj)}; needed: {_NEEDED}"
        return Mismatches(mismatched={"": problem})
    found = list(_differences(obj, state, "", adapters))
    return Mismatches(
        missing=tuple(path for what, path, _ in found if what == "missing"),
        unexpected=tuple(path for what, path, _ in found if what == "unexpected"),
        mismatched={path: why for what, path, why in found if what == "mismatched"},
    )


def refuse_unrestorable(objects: Mapping[str, object], adapters: Adapters) -> None:
    """Raise ``ConfigurationError`` that lists every object which nothing can be restored into, before it is saved."""
    wrong = [
        f"{name}={type(obj).__name__}"
        for name, obj in objects.items()
        if adapters.for_object(obj) is None and not isinstance(obj, dict | list)
    ]
    if wrong:
        raise ConfigurationError(
            f"nothing can be restored into {', '.join(wrong)}; needed: {_NEEDED}. Put a number or a text into a dict,"
            " such as progress={'step': 0}; for a DataLoader take a ResumableLoader"
        )


def restore_into(obj: object, state: object, adapters: Adapters, *, strict: bool) -> None:
    """Put `state` into `obj`, in place, and into every object that a live dict or list holds.

    The containers stay the same objects; keys that the state lacks are removed, unless they hold an object.
    """
    _restored(obj, state, adapters, strict)


def _differences(obj: object, state: object, path: str, adapters: Adapters) -> Iterator[tuple[str, str, str]]:
    """Yield (``missing``, ``unexpected`` or ``mismatched``; where; what differs)."""
    adapter = _adapter_of(obj, adapters)
    if adapter is not None:
        found = adapter.check(obj, state)
        yield from (("missing", _joined(path, key), "") for key in found.missing)
        yield from (("unexpected", _joined(path, key), "") for key in found.unexpected)
        yield from (("mismatched", _joined(path, key), why) for key, why in found.mismatched.items())
    elif _alike(obj, state):
        stored = dict(_entries(state))
        for key, live in _entries(obj):
            if key in stored:
                yield from _differences(live, stored[key], child_path(path, key), adapters)
            elif _holds_objects(live, adapters):
                yield "missing", child_path(path, key), ""
    elif _holds_objects(obj, adapters) or (_is_container(obj) and (not path or _is_container(state))):
        yield "mismatched", path, f"{_kind(state)} stored, {_kind(obj)} live"


def _restored(obj: object, state: object, adapters: Adapters, strict: bool) -> object:
    """Return what stands where `obj` stood: itself where it could take up the state in place, else what is stored."""
    adapter = _adapter_of(obj, adapters)
    if adapter is not None:
        adapter.restore_into(obj, state, strict=strict)
        return obj
    if not _alike(obj, state):
        return obj if _holds_objects(obj, adapters) else state
    live = dict(_entries(obj))
    merged = {key: _restored(live.get(key), value, adapters, strict) for key, value in _entries(state)}
    merged |= {key: kept for key, kept in live.items() if key not in merged and _holds_objects(kept, adapters)}
    if isinstance(obj, dict):
        obj.clear()
        obj.update(merged)
    elif isinstance(obj, list):
        obj[:] = merged.values()
    elif isinstance(obj, tuple):
        return tuple.__new__(type(obj), merged.values()) if _holds_objects(obj, adapters) else state
    return obj


def _adapter_of(value: object, adapters: Adapters) -> FrameworkAdapter | None:
    return None if type(value) in _PLAIN else adapters.for_object(value)


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list)


def _alike(obj: object, state: object) -> bool:
    """Say whether the two are walked side by side, entry by entry."""
    if isinstance(obj, tuple):
        return type(obj) is type(state)
    return any(isinstance(obj, kind) and isinstance(state, kind) for kind in (dict, list))


def _entries(container: object) -> Iterator[tuple[object, object]]:
    if isinstance(container, dict):
        yield from container.items()
    elif isinstance(container, list | tuple):
        yield from enumerate(container)


def _holds_objects(value: object, adapters: Adapters) -> bool:
    if isinstance(value, dict | list | tuple):
        return any(_holds_objects(item, adapters) for _, item in _entries(value))
    return _adapter_of(value, adapters) is not None


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key and not key.startswith("[") else path + key


def _kind(value: object) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
