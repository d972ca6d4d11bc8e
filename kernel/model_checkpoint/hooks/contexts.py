"""One context class per event, built when the event is first used: sixty-four at once would take 50 ms of every start.

A context is a slotted dataclass whose fields hooks read as attributes (``context.epoch``), as items
(``context["epoch"]``) or with a default (``context.get("epoch", 0)``). Only the fields that the event marks with a star
can be changed; writing another raises ``ContextFieldError``. What type checkers and editors know of the classes stands
in ``contexts.pyi``, which is generated from the specs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from model_checkpoint.errors import ContextFieldError, Veto
from model_checkpoint.hooks.field_types import fits
from model_checkpoint.hooks.specs import EVENTS

COMMON = (
    "event", "time", "operation_id", "experiment_id", "run_id", "run_name", "checkpoint_id", "rank", "world_size",
    "origin", "user_data",
)  # fmt: skip
"""Fields of every context."""
LIVE = frozenset({"model", "optimizer", "scheduler", "state"})
"""Objects of the running training; a snapshot for a later call does without them."""
_SUFFIX = "Context"
Self = TypeVar("Self", bound="Context")


class Context:
    """What a hook is told, and where it may answer. The base of every event's own class."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = COMMON
    _writable: ClassVar[Mapping[str, str]] = {}
    """Name and type of the fields that hooks may change."""
    _vetoable: ClassVar[bool] = False

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or `default` where the event, or the snapshot, has none of that name."""
        try:
            return object.__getattribute__(self, name) if name in self._fields else default
        except AttributeError:
            return default

    def set(self, name: str, value: object) -> None:
        """Change a field. Raises ``ContextFieldError``."""
        setattr(self, name, value)

    def update(self, changes: Mapping[str, object] | None = None, **more: object) -> None:
        """Change several fields: all of them, or none when one raises ``ContextFieldError``."""
        changed = {**(changes or {}), **more}
        for name, value in changed.items():
            self._check_writable(name)
            self._check_value(name, value)
        for name, value in changed.items():
            object.__setattr__(self, name, value)

    def veto(self, reason: str = "no reason given") -> None:
        """Stop the operation; the same as ``raise Veto(reason)``."""
        raise Veto(reason)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: object) -> None:
        setattr(self, name, value)

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __setattr__(self, name: str, value: object) -> None:
        self._check_writable(name)
        self._check_value(name, value)
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:  # only where the usual way found nothing
        if name in LIVE and name in self._fields:
            raise ContextFieldError(
                f"{name!r} belongs to the running training and is not part of the snapshot that a BACKGROUND hook gets:"
                " register the hook with another priority"
            )
        raise ContextFieldError(f"{self._label()} has no field {name!r}{_offer(name, self._fields)}")

    def __repr__(self) -> str:
        parts = []
        for name in self._fields:
            value = None if name in LIVE else self.get(name)
            if value is not None and name not in ("operation_id", "user_data", "world_size"):
                text = repr(value)
                parts.append(f"{name}={text if len(text) <= 60 else text[:57] + '...'}")
        return f"<{type(self).__name__} {' '.join(parts)}>"

    def _check_writable(self, name: str) -> None:
        if name in self._writable:
            return
        if name not in self._fields:
            raise ContextFieldError(f"{self._label()} has no field {name!r}{_offer(name, self._fields)}")
        may = ", ".join(field for field in self._fields if field in self._writable) or "none"
        raise ContextFieldError(f"{name!r} of {self._label()} cannot be changed by a hook; those that can: {may}")

    def _check_value(self, name: str, value: object) -> None:
        kind = self._writable[name]
        if not fits(value, kind):
            shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
            raise ContextFieldError(f"{name!r} of {self._label()} takes {kind}, not {shown}")

    def _label(self) -> str:
        return f"the context of {getattr(self, 'event', '?')!s}"


def detached(context: Self) -> Self:
    """Return a copy that a late hook may write to without anybody seeing it."""
    return _copy(context, leave_out=frozenset())


def snapshot(context: Self) -> Self:
    """Return a copy without the objects of the running training, which go on changing."""
    return _copy(context, leave_out=LIVE)


def merge(context: Context, changed: Context) -> None:
    """Take over what a hook changed in a detached copy of `context`."""
    for name in context._writable:
        value, own = getattr(changed, name), getattr(context, name)
        if value is not own and not (_is_plain(own) and value == own):
            object.__setattr__(context, name, value)


def _copy(context: Self, *, leave_out: frozenset[str]) -> Self:
    made = object.__new__(type(context))
    for name in context._fields:
        if name in leave_out:
            continue
        try:
            value = object.__getattribute__(context, name)
        except AttributeError:  # a snapshot of a snapshot
            continue
        object.__setattr__(made, name, value.copy() if _is_plain(value) and name != "user_data" else value)
    return made


def _is_plain(value: object) -> bool:
    return isinstance(value, dict | list | set)


def context_class(event: str) -> type[Context]:
    """Return the class of an event's contexts, building it at the first call."""
    found = _built.get(event)
    if found is None:
        found = _built.setdefault(event, _build(event))
    return found


def class_name(event: str) -> str:
    """Return ``BeforeCheckpointSaveContext`` for ``before_checkpoint_save``."""
    return "".join(part.capitalize() for part in event.split("_")) + _SUFFIX


def _build(event: str) -> type[Context]:
    import dataclasses

    spec = EVENTS[event]
    own = [field for field in spec.fields if field.name not in COMMON]
    names = (*COMMON, *(field.name for field in own))
    made = dataclasses.make_dataclass(
        class_name(event),
        [(name, object, dataclasses.field(default=None)) for name in names],
        bases=(Context,),
        namespace={"__doc__": spec.summary, "__module__": __name__},
        frozen=True,  # its __init__ then goes past __setattr__, which is put back below
        slots=True,
        eq=False,
        repr=False,
        kw_only=True,
    )
    changeable: Any = made
    changeable.__setattr__ = Context.__setattr__
    changeable.__getattr__ = Context.__getattr__
    changeable._fields = names
    changeable._writable = {field.name: field.type for field in own if field.writable}
    changeable._vetoable = spec.veto
    return made


def _offer(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches

    known = list(names)
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"


_built: dict[str, type[Context]] = {}
_by_class_name = {class_name(event): event for event in EVENTS}


def __getattr__(name: str) -> type[Context]:
    if name in _by_class_name:
        return context_class(_by_class_name[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
