"""Writes the values that hold no others: bytes, dates, paths, numbers that JSON lacks."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from uuid import UUID

from model_checkpoint.common.leaves.vocabulary import EXACT_INT, FACTORIES, KIND, PATHS


def write_str(value: str) -> object:
    """Return the string, or a node where it holds lone surrogates, which UTF-8 cannot say."""
    if value.isascii():
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return {KIND: "str", "v": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii")}
    return value


def write_int(value: int) -> object:
    """Return the integer, or a node where readers of JSON would round it."""
    return value if -EXACT_INT <= value <= EXACT_INT else {KIND: "int", "v": hex(value)}


def write_float(value: float) -> object:
    """Return the float, or a node for NaN and the infinities."""
    if math.isfinite(value):
        return value
    return {KIND: "float", "v": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode("ascii")


def _timedelta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _zone(value: timezone) -> object:
    offset, name = value.utcoffset(None), value.tzname(None)
    return [_timedelta(offset), name if name != timezone(offset).tzname(None) else None]


def _datetime(value: datetime) -> object:
    node: dict[str, object] = {"at": value.replace(tzinfo=None).isoformat(), "fold": value.fold}
    if value.tzinfo is None:
        return node
    if type(value.tzinfo) is timezone:
        return {**node, "zone": _zone(value.tzinfo)}
    from zoneinfo import ZoneInfo

    if type(value.tzinfo) is not ZoneInfo or value.tzinfo.key is None:
        raise TypeError(f"its time zone {value.tzinfo!r} cannot be stored; use datetime.timezone or zoneinfo")
    return {**node, "key": value.tzinfo.key}


def _time(value: time) -> object:
    if value.tzinfo is not None:
        raise TypeError("a time of day with a time zone cannot be stored; use a datetime")
    return [value.isoformat(), value.fold]


def _slice(value: slice) -> object:
    parts = [value.start, value.stop, value.step]
    if not all(part is None or type(part) is int for part in parts):
        raise TypeError("a slice is stored only with integers or None")
    return [None if part is None else hex(part) for part in parts]


def _type(value: type) -> str:
    if FACTORIES.get(value.__name__) is not value:
        raise TypeError(f"the class {value.__qualname__} cannot be stored; store its name instead")
    return value.__name__


_TEXT: dict[type, tuple[str, Callable[..., object]]] = {
    bytes: ("bytes", _base64),
    bytearray: ("bytearray", _base64),
    complex: ("complex", lambda value: [value.real.hex(), value.imag.hex()]),
    date: ("date", str),
    datetime: ("datetime", _datetime),
    time: ("time", _time),
    timedelta: ("timedelta", _timedelta),
    timezone: ("timezone", _zone),
    Decimal: ("decimal", str),
    Fraction: ("fraction", lambda value: [hex(value.numerator), hex(value.denominator)]),
    UUID: ("uuid", str),
    slice: ("slice", _slice),
    range: ("range", lambda value: [hex(part) for part in (value.start, value.stop, value.step)]),
    type: ("type", _type),
    type(...): ("ellipsis", lambda value: None),
}


def write_scalar(value: object) -> object | None:
    """Return the node of a scalar that JSON lacks, or None where it is none. Raises TypeError with the reason."""
    kind = type(value)
    known = _TEXT.get(kind)
    if known is not None:
        word, to_text = known
        return {KIND: word, "v": to_text(value)}
    if PATHS.get(kind.__name__) is kind:
        assert isinstance(value, PurePath)
        return {KIND: "path", "class": kind.__name__, "v": write_str(str(value))}
    return None
