"""The format of one line: canonical JSON that ends in its own digest, and begins where the line before it ended.

::

    {"actor":..., "at":..., ..., "previous":"<SHA-256 of the line before>", "seq":41, "sha256":"<of this line>"}\\n

Canonical means: ASCII, keys sorted, no spaces, no NaN. ``sha256`` is the last key, and its value the SHA-256 of the
canonical JSON of all others. A line whose bytes are not exactly those that its content gives is no line of a trail, so
that not even a space can be changed unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
"""What the very first line names as the one before it."""
MAX_LINE_NBYTES = 64 * 1024
"""No line is longer; what is longer was not written by a trail."""
START = b'{"actor":'
"""What every line begins with."""
EVENT, BEGIN, GAP, SEAL = "event", "begin", "gap", "seal"
"""The kinds of line: something happened; a file begins; events were lost; torn bytes stand before this line."""
_KEYS = frozenset(
    ("actor", "at", "checkpoint_id", "event", "fields", "kind", "outcome", "previous", "run", "seq", "sha256")
)
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Link:
    """A place in the chain: the number of a line and its digest."""

    seq: int
    sha256: str


BEFORE_ALL = Link(-1, GENESIS)
"""The place before the first line."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that agrees with its own digest."""

    link: Link
    previous: str
    kind: str
    event: str
    fields: Mapping[str, Any]


def encoded(content: Mapping[str, Any], after: Link) -> tuple[bytes, Link]:
    """Return the bytes of the line that follows `after`, and its place.

    `content` has the keys actor, at, checkpoint_id, event, fields, kind, outcome and run. Fields that would make the
    line too long are replaced by a word on how long they were.
    """
    entry = {**content, "previous": after.sha256, "seq": after.seq + 1}
    body = _encode(entry)
    if len(body) > MAX_LINE_NBYTES - 128:
        body = _encode({**entry, "fields": {"left_out_nbytes": len(body)}})
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{body[:-1]},"sha256":"{digest}"}}\n'.encode(), Link(after.seq + 1, digest)


def decoded(raw: bytes) -> Line | None:
    """Return the line that these bytes, without the line break, are; None where they are not exactly one."""
    if len(raw) > MAX_LINE_NBYTES or not raw.startswith(START):
        return None
    try:
        entry = json.loads(raw)
        digest = entry.pop("sha256")
        body = _encode(entry)
    except (ValueError, KeyError, RecursionError):
        return None
    if f'{body[:-1]},"sha256":"{digest}"}}'.encode() != raw or hashlib.sha256(body.encode()).hexdigest() != digest:
        return None
    if not _KEYS.issuperset(entry) or type(entry.get("seq")) is not int or entry["seq"] < 0:
        return None
    if not isinstance(entry.get("previous"), str) or not isinstance(entry.get("fields"), dict):
        return None
    return Line(
        Link(entry["seq"], digest), entry["previous"], str(entry.get("kind")), str(entry.get("event")), entry["fields"]
    )
