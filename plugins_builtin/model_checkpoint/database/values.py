"""How values go into columns that cannot hold all of them, and come back equal.

A number is a pair of columns, ``value`` (a 64-bit float, which indexes and comparisons use) and ``exact``::

    0.25          0.25     NULL
    inf           inf      NULL
    nan           NULL     nan              SQLite has no NaN, and it must not take part in a ranking
    -0.0          0.0      -0.0             the sign is not kept by every database
    2**53 + 1     2**53    0x20000000000001
    10**400       1.8e308  0x...            the largest finite float: it is not infinite, and ranks above all others

A text column holds every ``str``: NUL and lone surrogates, which databases refuse, are written as U+001A and four hex
digits, and so is U+001A itself. All other text is stored as it is, so that SQL can compare it.

JSON is strict JSON in the vocabulary of ``model_checkpoint.common.leaves``.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping

from model_checkpoint.common import leaves
from model_checkpoint.contracts import JSON
from model_checkpoint.errors import ConfigurationError, MetricError, RecordStoreDamagedError, StateDecodeError

EXACT_INT = 2**53
LARGEST = sys.float_info.max
_UNSAFE = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")


def comparable(number: float) -> float:
    """Return the float that stands for `number` in comparisons: an int too large for a float is the largest one."""
    try:
        return float(number)
    except OverflowError:
        return LARGEST if number > 0 else -LARGEST


def encode_number(number: object, name: str) -> tuple[float | None, str | None]:
    """Return the columns ``value`` and ``exact``. Raises ``MetricError`` that names the metric."""
    if isinstance(number, float):
        if math.isnan(number):
            return None, "nan"
        if number == 0.0 and math.copysign(1.0, number) < 0:
            return 0.0, "-0.0"
        return float(number), None
    if isinstance(number, int):
        return comparable(number), None if -EXACT_INT <= number <= EXACT_INT else hex(number)
    raise MetricError(f"metric {name!r} is a {type(number).__name__}, not a float or int")


def decode_number(value: float | None, exact: str | None) -> float:
    """Return the number that `encode_number` was given."""
    if exact is None:
        return math.nan if value is None else value
    return int(exact, 16) if "x" in exact else float(exact)


def encode_text(text: str) -> str:
    """Return `text` with nothing in it that a database refuses; most text is returned as it is."""
    return _UNSAFE.sub(lambda found: f"\x1a{ord(found[0]):04x}", text)


def decode_text(text: str) -> str:
    """Undo `encode_text`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "\x1a" in text else text


def encode_json(value: Mapping[str, JSON]) -> str:
    """Return `value` as strict JSON. Raises ``UnstorableStateError`` that lists what JSON cannot say."""
    tree = leaves.encode(dict(value), _nothing_else, path="")
    return encode_text(json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def decode_json(text: str) -> dict[str, JSON]:
    """Undo `encode_json`."""
    try:
        tree = json.loads(decode_text(text))
    except (ValueError, TypeError) as error:
        raise RecordStoreDamagedError(f"a value in the record store is no JSON any more: {error}") from error
    decoded = leaves.decode(tree, _no_other_kind)
    if not isinstance(decoded, dict):
        raise StateDecodeError(f"a JSON object was expected in the record store, and a {type(decoded).__name__} found")
    return decoded


def checked_tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    """Return `tags` as a dict. Raises ``ConfigurationError`` that lists the keys and values which are no strings."""
    wrong = [f"{k!r}: {v!r}" for k, v in (tags or {}).items() if not (isinstance(k, str) and isinstance(v, str))]
    if wrong:
        raise ConfigurationError(f"tags are strings with string values; these are not: {', '.join(wrong)}")
    return dict(tags or {})


def flat_params(config: Mapping[str, JSON]) -> dict[str, tuple[float | None, str | None]]:
    """Return what a query can ask of a run's config: dotted name -> (number, text).

    Nested mappings become dotted names; lists are left to whoever reads the config. A number has its ``repr`` as text
    too, ``True`` is the text ``true``, and None has neither.
    """
    found: dict[str, tuple[float | None, str | None]] = {}
    pending: list[tuple[str, object]] = [(str(key), value) for key, value in config.items()]
    for name, value in pending:  # grows while it is walked: breadth first, so that the shorter path keeps its name
        if isinstance(value, Mapping):
            pending += [(f"{name}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, bool):
            found.setdefault(name, (None, str(value).lower()))
        elif isinstance(value, (int, float)):
            number = None if math.isnan(value) else comparable(value)
            text = repr(value) if abs(value) < LARGEST or isinstance(value, float) else hex(int(value))
            found.setdefault(name, (number, text))
        elif value is None or isinstance(value, str):
            found.setdefault(name, (None, value))
    return found


def _nothing_else(value: object, path: str, encode: Callable[[object, str], object]) -> object | None:
    return None


def _no_other_kind(kind: str, node: Mapping[str, object], decode: Callable[[object], object]) -> object:
    raise StateDecodeError(f"the record store holds a JSON node of kind {kind!r}, which this version does not know")
