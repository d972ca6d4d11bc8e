"""Durations, counts and percentages as they are written: ``10m``, ``500steps``, ``3%``."""

from __future__ import annotations

import math
import re

from model_checkpoint.errors import ConfigurationError

_NUMBER = r"\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?"
_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d)", re.IGNORECASE)
_PERCENT = re.compile(rf"({_NUMBER})%", re.IGNORECASE)
_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(text: str, what: str) -> float:
    """Return the seconds that a duration such as ``10m`` or ``1h30m`` means. Raises ``ConfigurationError``."""
    parts = list(_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ConfigurationError(f"{what} is a duration such as 90s, 10m, 1h30m or 2d, not {text!r}")
    return checked_seconds(sum(float(part[1]) * _UNITS_S[part[2].lower()] for part in parts), what)


def checked_seconds(value: float, what: str) -> float:
    """Return `value` if it is a finite number above 0, as a float. Raises ``ConfigurationError``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigurationError(f"{what} is a number of seconds above 0, not {value!r}")
    return float(value)


def duration(value_s: float) -> str:
    """Return the shortest text that `seconds` reads as exactly `value_s`."""
    for unit in ("d", "h", "m"):
        if value_s % _UNITS_S[unit] == 0 and value_s < 1e12:
            return f"{value_s / _UNITS_S[unit]:.0f}{unit}"
    return f"{value_s:.0f}s" if value_s == int(value_s) and value_s < 1e12 else f"{value_s!r}s"


def percent(text: str, what: str) -> float:
    """Return the number before the sign of ``3%``. Raises ``ConfigurationError``."""
    found = _PERCENT.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{what} is a percentage such as 3%, not {text!r}")
    return float(found[1])


def number(value: float) -> str:
    """Return a number without a needless fraction."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e12 else repr(value)


def count(value: object, what: str) -> int:
    """Return `value` if it is an int from 1. Raises ``ConfigurationError``."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise ConfigurationError(f"{what} is a count from 1, not {value!r}")
    return value
