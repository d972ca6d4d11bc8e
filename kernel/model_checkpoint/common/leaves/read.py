"""Reads JSON back into values. The tree is data from elsewhere: nothing is imported, called or trusted."""

from __future__ import annotations

import base64
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from typing import TypeVar
from uuid import UUID

from model_checkpoint.common.leaves.vocabulary import FACTORIES, FOREIGN_PATHS, KIND, PATHS, find_class
from model_checkpoint.errors import CheckpointEngineError, StateDecodeError

ForeignNode = Callable[[str, Mapping[str, object], Callable[[object], object]], object]
"""``foreign(kind, node, decode)`` rebuilds a node of an unknown kind; it may `decode` parts of it."""

_Node = Mapping[str, object]
_T = TypeVar("_T")
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)


def decode(tree: object, foreign: ForeignNode) -> object:
    """Return the value that `encode` was given. Raises ``StateDecodeError``."""
    try:
        return _Decoder(foreign).decode(tree)
    except CheckpointEngineError:
        raise
    except RecursionError:
        raise StateDecodeError("the stored tree is nested deeper than anything that is ever written") from None
    except _MALFORMED as error:
        raise StateDecodeError(f"the stored tree is malformed: {type(error).__name__}: {error}") from error


class _Decoder:
    def __init__(self, foreign: ForeignNode) -> None:
        self._foreign = foreign

    def decode(self, node: object) -> object:
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if not isinstance(node, dict):
            return node
        kind = node.get(KIND)
        if kind is None:
            return {key: self.decode(value) for key, value in node.items()}
        reader = _READERS.get(kind)
        if reader is None:
            return self._foreign(kind, node, self.decode)
        return reader(self, node)

    def items(self, node: _Node) -> list[object]:
        return [self.decode(item) for item in _value(node, list)]

    def pairs(self, node: _Node) -> list[tuple[object, object]]:
        value = node["v"]
        if isinstance(value, dict):
            return [(key, self.decode(item)) for key, item in value.items()]
        return [(self.decode(key), self.decode(item)) for key, item in _typed(value, list)]


def _typed(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} is needed, found a {type(value).__name__}")
    return value


def _value(node: _Node, kind: type[_T]) -> _T:
    return _typed(node["v"], kind)


def _text(node: _Node) -> str:
    return _value(node, str)


def _bytes(node: _Node) -> bytes:
    return base64.b64decode(_text(node), validate=True)


def _hex(values: object) -> list[int]:
    return [int(_typed(value, str), 16) for value in _typed(values, list)]


def _odict(dec: _Decoder, node: _Node) -> object:
    result: OrderedDict[object, object] = OrderedDict(dec.pairs(node))
    for name, value in _typed(dec.decode(node.get("attributes", {})), dict).items():
        if not isinstance(name, str) or hasattr(OrderedDict, name):
            raise ValueError(f"a dict cannot carry an attribute {name!r}")
        vars(result)[name] = value
    return result


def _counter(dec: _Decoder, node: _Node) -> object:
    counter: Counter[object] = Counter()
    plain: dict[object, object] = counter  # type: ignore[assignment]  # a count may be any number
    dict.update(plain, dec.pairs(node))  # Counter's own update would add
    return counter


def _defaultdict(dec: _Decoder, node: _Node) -> object:
    name = node["factory"]
    return defaultdict(None if name is None else FACTORIES[_typed(name, str)], dec.pairs(node))


def _deque(dec: _Decoder, node: _Node) -> object:
    maxlen = node["maxlen"]
    return deque(dec.items(node), None if maxlen is None else _typed(maxlen, int))


def _enum(dec: _Decoder, node: _Node) -> object:
    cls = find_class(node["class"], Enum, "enum")
    name = _text(node)
    if name in cls.__members__:
        return cls.__members__[name]
    raise StateDecodeError(f"the enum {node['class']} has no member {name!r} any more")


def _flag(dec: _Decoder, node: _Node) -> object:
    cls = find_class(node["class"], Flag, "flag")
    return cls(_typed(dec.decode(node["v"]), int))


def _namedtuple(dec: _Decoder, node: _Node) -> object:
    cls = find_class(node["class"], tuple, "named tuple")
    items = dec.items(node)
    fields = getattr(cls, "_fields", None)
    if not isinstance(fields, tuple) or len(fields) != len(items):
        raise StateDecodeError(f"{node['class']} is no named tuple of {len(items)} fields any more")
    return tuple.__new__(cls, items)


def _complex(dec: _Decoder, node: _Node) -> object:
    real, imag = _value(node, list)
    return complex(float.fromhex(real), float.fromhex(imag))


def _timedelta(value: object) -> timedelta:
    days, seconds, microseconds = (_typed(part, int) for part in _typed(value, list))
    return timedelta(days, seconds, microseconds)


def _zone(value: object) -> timezone:
    offset, name = _typed(value, list)
    return timezone(_timedelta(offset)) if name is None else timezone(_timedelta(offset), _typed(name, str))


def _datetime(dec: _Decoder, node: _Node) -> object:
    value = _value(node, dict)
    at = datetime.fromisoformat(value["at"]).replace(fold=value["fold"])
    if "key" in value:
        from zoneinfo import ZoneInfo

        return at.replace(tzinfo=ZoneInfo(_typed(value["key"], str)))
    return at.replace(tzinfo=_zone(value["zone"])) if "zone" in value else at


def _time(dec: _Decoder, node: _Node) -> object:
    at, fold = _value(node, list)
    return time.fromisoformat(at).replace(fold=fold)


def _slice(dec: _Decoder, node: _Node) -> object:
    start, stop, step = (None if part is None else int(_typed(part, str), 16) for part in _value(node, list))
    return slice(start, stop, step)


def _path(dec: _Decoder, node: _Node) -> object:
    name = _typed(node["class"], str)
    text = _typed(dec.decode(node["v"]), str)
    return (FOREIGN_PATHS.get(name) or PATHS[name])(text)


_READERS: dict[str, Callable[[_Decoder, _Node], object]] = {
    "str": lambda dec, node: _bytes(node).decode("utf-8", "surrogatepass"),
    "int": lambda dec, node: int(_text(node), 16),
    "float": lambda dec, node: float(_text(node)),
    "dict": lambda dec, node: dict(dec.pairs(node)),
    "tuple": lambda dec, node: tuple(dec.items(node)),
    "set": lambda dec, node: set(dec.items(node)),
    "frozenset": lambda dec, node: frozenset(dec.items(node)),
    "odict": _odict,
    "counter": _counter,
    "defaultdict": _defaultdict,
    "deque": _deque,
    "enum": _enum,
    "flag": _flag,
    "namedtuple": _namedtuple,
    "bytes": lambda dec, node: _bytes(node),
    "bytearray": lambda dec, node: bytearray(_bytes(node)),
    "complex": _complex,
    "date": lambda dec, node: date.fromisoformat(_text(node)),
    "datetime": _datetime,
    "time": _time,
    "timedelta": lambda dec, node: _timedelta(node["v"]),
    "timezone": lambda dec, node: _zone(node["v"]),
    "decimal": lambda dec, node: Decimal(_text(node)),
    "fraction": lambda dec, node: Fraction(*_hex(node["v"])),
    "uuid": lambda dec, node: UUID(_text(node)),
    "slice": _slice,
    "range": lambda dec, node: range(*_hex(node["v"])),
    "type": lambda dec, node: FACTORIES[_text(node)],
    "ellipsis": lambda dec, node: ...,
    "path": _path,
}
