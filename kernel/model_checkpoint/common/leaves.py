"""The typed leaf vocabulary: how a tree of Python values becomes JSON and comes back as what it was. Never pickle.

What JSON has is written as JSON: None, bool, int up to 2**53, finite float, str, list, dict with plain string keys.
Everything else is a node with a ``"$"``::

    (0.9, 0.999)            {"$": "tuple", "v": [0.9, 0.999]}
    {0: "a"}                {"$": "dict", "v": [[0, "a"]]}
    Counter({30: 1})        {"$": "counter", "v": [[30, 1]]}
    float("inf")            {"$": "float", "v": "inf"}
    b"\\x00"                 {"$": "bytes", "v": "AA=="}
    Stage.FINE              {"$": "enum", "class": "train:Stage", "v": "FINE"}

A tensor, or anything else of a framework, is handed to the caller, who returns a node of its own kind. Enums and named
tuples come back only through classes that this process has already imported: reading a tree imports nothing.
"""

from __future__ import annotations

import base64
import math
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from uuid import UUID

from model_checkpoint.errors import StateDecodeError, UnstorableStateError

KIND = "$"
MAX_DEPTH = 200
_EXACT_INT = 2**53
_FACTORIES: dict[str, type] = {
    kind.__name__: kind for kind in (int, float, str, list, dict, set, tuple, bool, bytes, complex)
}

Foreign = Callable[[object, str, Callable[[object, str], object]], object | None]
"""``foreign(value, path, encode)`` returns a node for a value outside the vocabulary, or None; it may `encode` parts of
it. A TypeError that it raises is reported with the path."""

ForeignNode = Callable[[str, Mapping[str, object], Callable[[object], object]], object]
"""``foreign(kind, node, decode)`` rebuilds a node of an unknown kind; it may `decode` parts of it."""


def encode(value: object, foreign: Foreign, *, path: str = "state") -> object:
    """Return `value` as JSON. Raises ``UnstorableStateError`` that lists every leaf which cannot be stored."""
    encoder = _Encoder(foreign)
    result = encoder.encode(value, path)
    if encoder.problems:
        raise UnstorableStateError(encoder.problems)
    return result


def decode(tree: object, foreign: ForeignNode) -> object:
    """Return the value that `encode` was given. Raises ``StateDecodeError``."""
    try:
        return _Decoder(foreign).decode(tree)
    except StateDecodeError:
        raise
    except RecursionError:
        raise StateDecodeError(f"the stored tree is nested deeper than {MAX_DEPTH} levels") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise StateDecodeError(f"the stored tree is malformed: {type(error).__name__}: {error}") from error


class _Encoder:
    def __init__(self, foreign: Foreign) -> None:
        self._foreign = foreign
        self._open: set[int] = set()  # containers being walked: meeting one again is a cycle
        self.problems: list[tuple[str, str]] = []

    def encode(self, value: object, path: str) -> object:
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is str:
            return value
        if kind is int:
            assert isinstance(value, int)
            return value if -_EXACT_INT <= value <= _EXACT_INT else {KIND: "int", "v": hex(value)}
        if kind is float:
            assert isinstance(value, float)
            return value if math.isfinite(value) else {KIND: "float", "v": _float_word(value)}
        container = _CONTAINERS.get(kind)
        if container is not None:
            return self._container(container, value, path)
        try:
            scalar = _SCALARS.get(kind)
            node = self._other(value, path) if scalar is None else scalar(value)
        except TypeError as error:
            self.problems.append((path, str(error)))
            return None
        if node is None:
            self.problems.append((path, _refusal(value)))
        return node

    def _container(self, write: Callable[[_Encoder, object, str], object], value: object, path: str) -> object:
        if id(value) in self._open:
            self.problems.append((path, f"this {type(value).__name__} contains itself; break the cycle"))
            return None
        if len(self._open) >= MAX_DEPTH:
            self.problems.append((path, f"nested deeper than {MAX_DEPTH} levels"))
            return None
        self._open.add(id(value))
        try:
            return write(self, value, path)
        finally:
            self._open.discard(id(value))

    def _other(self, value: object, path: str) -> object | None:
        if isinstance(value, Enum):
            return {KIND: "enum", "class": _class_name(type(value)), "v": value.name}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            items = [self.encode(item, f"{path}.{name}") for name, item in zip(value._fields, value, strict=True)]
            return {KIND: "namedtuple", "class": _class_name(type(value)), "v": items}
        if isinstance(value, PurePath):
            return {
                KIND: "path",
                "flavour": "windows" if isinstance(value, PureWindowsPath) else "posix",
                "v": str(value),
            }
        return self._foreign(value, path, self.encode)

    def items(self, values: Iterable[object], path: str) -> list[object]:
        return [self.encode(item, f"{path}[{index}]") for index, item in enumerate(values)]

    def pairs(self, mapping: Mapping[object, object], path: str) -> list[object]:
        return [[self.encode(k, f"{path} key {k!r}"), self.encode(v, f"{path}[{k!r}]")] for k, v in mapping.items()]

    def mapping(self, kind: str, mapping: Mapping[object, object], path: str) -> dict[str, object]:
        """Plain JSON where every key is a string that no reader could take for a node, pairs otherwise."""
        if all(type(key) is str and key != KIND for key in mapping):
            plain = {str(key): self.encode(value, f"{path}.{key}") for key, value in mapping.items()}
            return plain if kind == "dict" else {KIND: kind, "v": plain}
        return {KIND: kind, "v": self.pairs(mapping, path)}


def _list(enc: _Encoder, value: object, path: str) -> object:
    assert isinstance(value, list)
    return enc.items(value, path)


def _sequence(kind: str) -> Callable[[_Encoder, object, str], object]:
    def write(enc: _Encoder, value: object, path: str) -> object:
        assert isinstance(value, Iterable)
        return {KIND: kind, "v": enc.items(value, path)}

    return write


def _set(kind: str) -> Callable[[_Encoder, object, str], object]:
    def write(enc: _Encoder, value: object, path: str) -> object:
        assert isinstance(value, (set, frozenset))
        return {
            KIND: kind,
            "v": enc.items(sorted(value, key=lambda item: (type(item).__name__, repr(item))), path),
        }

    return write


def _dict(enc: _Encoder, value: object, path: str) -> object:
    assert isinstance(value, dict)
    return enc.mapping("dict", value, path)


def _ordered(enc: _Encoder, value: object, path: str) -> object:
    assert isinstance(value, OrderedDict)
    node = enc.mapping("odict", value, path)
    if vars(value):  # torch hangs its versions of modules on a state dict as an attribute
        node["attributes"] = enc.encode(dict(vars(value)), f"{path}.__dict__")
    return node


def _counter(enc: _Encoder, value: object, path: str) -> object:
    assert isinstance(value, Counter)
    return {KIND: "counter", "v": enc.pairs(value, path)}


def _defaultdict(enc: _Encoder, value: object, path: str) -> object:
    assert isinstance(value, defaultdict)
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if name is not None and _FACTORIES.get(name) is not factory:
        raise_path = (
            path,
            f"its default_factory {factory!r} cannot be stored; use a builtin such as list, or dict(...)",
        )
        enc.problems.append(raise_path)
        return None
    return {KIND: "defaultdict", "factory": name, "v": enc.pairs(value, path)}


def _deque(enc: _Encoder, value: object, path: str) -> object:
    assert isinstance(value, deque)
    return {KIND: "deque", "maxlen": value.maxlen, "v": enc.items(value, path)}


_CONTAINERS: dict[type, Callable[[_Encoder, object, str], object]] = {
    list: _list,
    dict: _dict,
    tuple: _sequence("tuple"),
    set: _set("set"),
    frozenset: _set("frozenset"),
    OrderedDict: _ordered,
    Counter: _counter,
    defaultdict: _defaultdict,
    deque: _deque,
}


def _word(kind: str, to_text: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: {KIND: kind, "v": to_text(value)}


def _float_word(value: object) -> object:
    assert isinstance(value, float)
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _base64(value: object) -> str:
    assert isinstance(value, (bytes, bytearray))
    return base64.b64encode(value).decode("ascii")


def _complex(value: object) -> object:
    assert isinstance(value, complex)
    return [value.real.hex(), value.imag.hex()]


def _timedelta(value: object) -> object:
    assert isinstance(value, timedelta)
    return [value.days, value.seconds, value.microseconds]


def _zone(value: object) -> object:
    assert isinstance(value, timezone)
    offset = value.utcoffset(None)
    name = value.tzname(None)
    named = name != timezone(offset).tzname(None)
    return [_timedelta(offset), name if named else None]


def _datetime(value: object) -> object:
    assert isinstance(value, datetime)
    if value.tzinfo is not None and type(value.tzinfo) is not timezone:
        zone = getattr(value.tzinfo, "key", None)
        if zone is None:
            raise TypeError(f"its time zone {value.tzinfo!r} cannot be stored; use datetime.timezone or zoneinfo")
        return {"at": value.replace(tzinfo=None).isoformat(), "fold": value.fold, "key": zone}
    zone_node = None if value.tzinfo is None else _zone(value.tzinfo)
    return {"at": value.replace(tzinfo=None).isoformat(), "fold": value.fold, "zone": zone_node}


def _slice(value: object) -> object:
    assert isinstance(value, slice)
    parts = [value.start, value.stop, value.step]
    if not all(part is None or type(part) is int for part in parts):
        raise TypeError("a slice is stored only with integers or None")
    return parts


def _range(value: object) -> object:
    assert isinstance(value, range)
    return [value.start, value.stop, value.step]


def _naive_time(value: object) -> object:
    assert isinstance(value, time)
    if value.tzinfo is not None:
        raise TypeError("a time of day with a time zone cannot be stored; use a datetime")
    return [value.isoformat(), value.fold]


def _builtin_type(value: object) -> object:
    assert isinstance(value, type)
    if _FACTORIES.get(value.__name__) is not value:
        raise TypeError(f"the class {value.__qualname__} cannot be stored; store its name instead")
    return value.__name__


_SCALARS: dict[type, Callable[[object], object]] = {
    bytes: _word("bytes", _base64),
    bytearray: _word("bytearray", _base64),
    complex: _word("complex", _complex),
    date: _word("date", lambda value: str(value)),
    timedelta: _word("timedelta", _timedelta),
    timezone: _word("timezone", _zone),
    Decimal: _word("decimal", str),
    Fraction: _word("fraction", str),
    UUID: _word("uuid", str),
    type(...): _word("ellipsis", lambda value: None),
    datetime: _word("datetime", _datetime),
    time: _word("time", _naive_time),
    slice: _word("slice", _slice),
    range: _word("range", _range),
    type: _word("type", _builtin_type),
}


def _refusal(value: object) -> str:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f"a {name} cannot be stored ({shown}); leave it out, or give its object a state_dict() method"


def _class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


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

    def items(self, node: Mapping[str, object]) -> list[object]:
        value = node["v"]
        if not isinstance(value, list):
            raise TypeError(f"a {node[KIND]} needs a list")
        return [self.decode(item) for item in value]

    def pairs(self, node: Mapping[str, object]) -> list[tuple[object, object]]:
        value = node["v"]
        if isinstance(value, dict):
            return [(key, self.decode(item)) for key, item in value.items()]
        assert isinstance(value, list)
        return [(self.decode(key), self.decode(item)) for key, item in value]


def _read_text(node: Mapping[str, object]) -> str:
    value = node["v"]
    if not isinstance(value, str):
        raise TypeError(f"a {node[KIND]} needs a string")
    return value


def _read_numbers(value: object) -> list[int]:
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise TypeError("a list of integers is needed")
    return value


def _read_odict(dec: _Decoder, node: Mapping[str, object]) -> object:
    result: OrderedDict[object, object] = OrderedDict(dec.pairs(node))
    attributes = dec.decode(node.get("attributes", {}))
    assert isinstance(attributes, dict)
    vars(result).update(attributes)
    return result


def _read_counter(dec: _Decoder, node: Mapping[str, object]) -> object:
    counter: Counter[object] = Counter()
    for key, count in dec.pairs(node):
        dict.__setitem__(counter, key, count)  # not update(): it would add
    return counter


def _read_defaultdict(dec: _Decoder, node: Mapping[str, object]) -> object:
    name = node["factory"]
    return defaultdict(None if name is None else _FACTORIES[str(name)], dec.pairs(node))


def _read_deque(dec: _Decoder, node: Mapping[str, object]) -> object:
    maxlen = node["maxlen"]
    assert maxlen is None or isinstance(maxlen, int)
    return deque(dec.items(node), maxlen)


def _read_class(node: Mapping[str, object], base: type) -> type:
    name = str(node["class"])
    module_name, _, qualname = name.partition(":")
    found: object = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not issubclass(found, base):
        raise StateDecodeError(
            f"the state holds a {node[KIND]} of {name}, and this process has no such class: import {module_name!r}"
            " before loading (reading a checkpoint imports nothing by itself)"
        )
    return found


def _read_enum(dec: _Decoder, node: Mapping[str, object]) -> object:
    cls = _read_class(node, Enum)
    assert issubclass(cls, Enum)
    name = _read_text(node)
    if name in cls.__members__:
        return cls[name]
    raise StateDecodeError(f"the enum {node['class']} has no member {name!r} any more")


def _read_namedtuple(dec: _Decoder, node: Mapping[str, object]) -> object:
    cls = _read_class(node, tuple)
    make = getattr(cls, "_make", None)
    if make is None:
        raise StateDecodeError(f"{node['class']} is no named tuple any more")
    return make(dec.items(node))


def _read_complex(dec: _Decoder, node: Mapping[str, object]) -> object:
    value = node["v"]
    assert isinstance(value, list)
    real, imag = value
    return complex(float.fromhex(real), float.fromhex(imag))


def _read_zone(value: object) -> timezone:
    assert isinstance(value, list)
    offset, name = value
    delta = timedelta(*_read_numbers(offset))
    return timezone(delta) if name is None else timezone(delta, str(name))


def _read_datetime(dec: _Decoder, node: Mapping[str, object]) -> object:
    value = node["v"]
    assert isinstance(value, dict)
    at = datetime.fromisoformat(value["at"]).replace(fold=value["fold"])
    if value.get("key") is not None:
        from zoneinfo import ZoneInfo

        return at.replace(tzinfo=ZoneInfo(value["key"]))
    return at if value["zone"] is None else at.replace(tzinfo=_read_zone(value["zone"]))


def _read_time(dec: _Decoder, node: Mapping[str, object]) -> object:
    value = node["v"]
    assert isinstance(value, list)
    return time.fromisoformat(value[0]).replace(fold=value[1])


def _read_slice(dec: _Decoder, node: Mapping[str, object]) -> object:
    value = node["v"]
    assert isinstance(value, list)
    return slice(*value)


_PATHS: dict[str, type[PurePath]] = {"posix": PurePosixPath, "windows": PureWindowsPath}

_READERS: dict[str, Callable[[_Decoder, Mapping[str, object]], object]] = {
    "int": lambda dec, node: int(_read_text(node), 16),
    "float": lambda dec, node: float(_read_text(node)),
    "dict": lambda dec, node: dict(dec.pairs(node)),
    "tuple": lambda dec, node: tuple(dec.items(node)),
    "set": lambda dec, node: set(dec.items(node)),
    "frozenset": lambda dec, node: frozenset(dec.items(node)),
    "odict": _read_odict,
    "counter": _read_counter,
    "defaultdict": _read_defaultdict,
    "deque": _read_deque,
    "enum": _read_enum,
    "namedtuple": _read_namedtuple,
    "bytes": lambda dec, node: base64.b64decode(_read_text(node), validate=True),
    "bytearray": lambda dec, node: bytearray(base64.b64decode(_read_text(node), validate=True)),
    "complex": _read_complex,
    "date": lambda dec, node: date.fromisoformat(_read_text(node)),
    "datetime": _read_datetime,
    "time": _read_time,
    "timedelta": lambda dec, node: timedelta(*_read_numbers(node["v"])),
    "timezone": lambda dec, node: _read_zone(node["v"]),
    "decimal": lambda dec, node: Decimal(_read_text(node)),
    "fraction": lambda dec, node: Fraction(_read_text(node)),
    "uuid": lambda dec, node: UUID(_read_text(node)),
    "slice": _read_slice,
    "range": lambda dec, node: range(*_read_numbers(node["v"])),
    "type": lambda dec, node: _FACTORIES[_read_text(node)],
    "ellipsis": lambda dec, node: ...,
    "path": lambda dec, node: _PATHS[str(node["flavour"])](_read_text(node)),
}
