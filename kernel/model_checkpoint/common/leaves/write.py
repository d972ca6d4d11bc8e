"""Writes values as JSON, walking their containers and gathering every problem on the way."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum, Flag
from typing import cast

from model_checkpoint.common.leaves.scalars import write_float, write_int, write_scalar, write_str
from model_checkpoint.common.leaves.vocabulary import (
    EXACT_INT,
    FACTORIES,
    KIND,
    MAX_DEPTH,
    child_path,
    class_name,
    shown,
)
from model_checkpoint.errors import UnstorableStateError

Foreign = Callable[[object, str, Callable[[object, str], object]], object | None]
"""``foreign(value, path, encode)`` returns a node for a value outside the vocabulary, or None; it may `encode` parts of
it. A TypeError that it raises is reported with the path."""


def encode(value: object, foreign: Foreign, *, path: str = "state") -> object:
    """Return `value` as JSON. Raises ``UnstorableStateError`` that lists every leaf which cannot be stored."""
    encoder = _Encoder(foreign)
    try:
        result = encoder.encode(value, path)
    except RecursionError:
        encoder.problems.append((path, "nested deeper than the calls that Python has left here; flatten it"))
    if encoder.problems:
        raise UnstorableStateError(encoder.problems)
    return result


class _Encoder:
    def __init__(self, foreign: Foreign) -> None:
        self._foreign = foreign
        self._open: set[int] = set()  # containers being walked: meeting one again is a cycle
        self.problems: list[tuple[str, str]] = []

    def encode(self, value: object, path: str) -> object:
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        simple = _SIMPLE.get(kind)
        if simple is not None:
            return simple(value)
        try:
            if kind in _CONTAINERS:
                return self._container(value, path)
            node = write_scalar(value) or self._other(value, path)
        except TypeError as error:
            self.problems.append((path, str(error)))
            return None
        if node is None:
            name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
            remedy = "leave it out, or give its object a state_dict() method"
            self.problems.append((path, f"a {name} cannot be stored ({shown(value)}); {remedy}"))
        return node

    def _container(self, value: object, path: str) -> object:
        if id(value) in self._open:
            raise TypeError(f"this {type(value).__name__} contains itself; break the cycle")
        if len(self._open) >= MAX_DEPTH:
            raise TypeError(f"nested deeper than {MAX_DEPTH} levels")
        self._open.add(id(value))
        try:
            return _CONTAINERS[type(value)](self, value, path)
        finally:
            self._open.discard(id(value))

    def _other(self, value: object, path: str) -> object | None:
        if isinstance(value, Flag) and value.name not in type(value).__members__:
            return {KIND: "flag", "class": class_name(type(value)), "v": write_int(int(value.value))}
        if isinstance(value, Enum):
            return {KIND: "enum", "class": class_name(type(value)), "v": value.name}
        fields = getattr(value, "_fields", None)
        if isinstance(value, tuple) and isinstance(fields, tuple) and len(fields) == len(value):
            name = class_name(type(value))
            items = [self.encode(item, f"{path}.{field}") for field, item in zip(fields, value, strict=True)]
            return {KIND: "namedtuple", "class": name, "v": items}
        return self._foreign(value, path, self.encode)

    def items(self, values: Iterable[object], path: str) -> list[object]:
        if isinstance(values, list | tuple) and _are_small_ints(values):  # a random stream has hundreds of them
            return list(values)
        return [self.encode(item, f"{path}[{index}]") for index, item in enumerate(values)]

    def pairs(self, mapping: Mapping[object, object], path: str) -> list[object]:
        return [
            [self.encode(key, f"{path} key {shown(key)}"), self.encode(value, child_path(path, key))]
            for key, value in mapping.items()
        ]

    def mapping(self, kind: str, mapping: Mapping[object, object], path: str) -> dict[str, object]:
        """Plain JSON where every key is a string that no reader could take for a node, pairs otherwise."""
        if all(type(key) is str and key != KIND and write_str(key) is key for key in mapping):
            plain = {str(key): self.encode(value, child_path(path, key)) for key, value in mapping.items()}
            return plain if kind == "dict" else {KIND: kind, "v": plain}
        return {KIND: kind, "v": self.pairs(mapping, path)}


def _are_small_ints(values: Collection[object]) -> bool:
    if set(map(type, values)) != {int}:
        return False
    ints = cast("Collection[int]", values)
    return min(ints) >= -EXACT_INT and max(ints) <= EXACT_INT


def _list(enc: _Encoder, value: list[object], path: str) -> object:
    return enc.items(value, path)


def _tuple(enc: _Encoder, value: tuple[object, ...], path: str) -> object:
    return {KIND: "tuple", "v": enc.items(value, path)}


def _set(enc: _Encoder, value: set[object] | frozenset[object], path: str) -> object:
    in_order = sorted(value, key=lambda item: (type(item).__name__, shown(item, sys.maxsize)))
    return {KIND: type(value).__name__, "v": enc.items(in_order, path)}


def _dict(enc: _Encoder, value: dict[object, object], path: str) -> object:
    return enc.mapping("dict", value, path)


def _ordered(enc: _Encoder, value: OrderedDict[object, object], path: str) -> object:
    node = enc.mapping("odict", value, path)
    if vars(value):  # torch hangs its versions of modules on a state dict as an attribute
        node["attributes"] = enc.encode(dict(vars(value)), f"{path}.__dict__")
    return node


def _counter(enc: _Encoder, value: Counter[object], path: str) -> object:
    return {KIND: "counter", "v": enc.pairs(value, path)}


def _defaultdict(enc: _Encoder, value: defaultdict[object, object], path: str) -> object:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if name is not None and FACTORIES.get(name) is not factory:
        raise TypeError(f"its default_factory {shown(factory)} cannot be stored; use a builtin such as list, or dict()")
    return {KIND: "defaultdict", "factory": name, "v": enc.pairs(value, path)}


def _deque(enc: _Encoder, value: deque[object], path: str) -> object:
    return {KIND: "deque", "maxlen": value.maxlen, "v": enc.items(value, path)}


_SIMPLE: dict[type, Callable[..., object]] = {str: write_str, int: write_int, float: write_float}
_CONTAINERS: dict[type, Callable[..., object]] = {
    list: _list,
    dict: _dict,
    tuple: _tuple,
    set: _set,
    frozenset: _set,
    OrderedDict: _ordered,
    Counter: _counter,
    defaultdict: _defaultdict,
    deque: _deque,
}
