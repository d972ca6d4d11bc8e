"""JSON that reads back as exactly what was written, and that exists in one form only.

No spaces, keys in their own order, and text as UTF-8 rather than as escapes: a JSON reader joins ``"\\ud83d\\ude00"``
into one character, and two lone surrogates would come back as an emoji. A lone surrogate is written in the three bytes
that UTF-8 would give it (Python's ``surrogatepass``).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from model_checkpoint.common.leaves import child_path
from model_checkpoint.errors import UnstorableStateError

T = TypeVar("T")
_MAX_DIGITS = 4300
"""Python reads no longer integers from text. What the adapters capture is written in hexadecimal well below that."""


def to_text(value: object, path: str) -> str:
    """Return `value` as JSON. Raises ``UnstorableStateError`` that lists what in it, below `path`, is none."""
    try:
        return with_whole_stack(lambda: _dumps(value))
    except (TypeError, ValueError, RecursionError):
        problems = list(_problems(value, path))
        raise UnstorableStateError(problems or [(path, "nested too deeply; flatten it")]) from None


def from_text(text: str) -> object:
    """Return the value that `to_text` was given. Raises ValueError for anything that it would not have written."""
    try:
        value: object = with_whole_stack(lambda: json.loads(text))
        written = with_whole_stack(lambda: _dumps(value))
    except RecursionError:
        raise ValueError("nested deeper than anything that is ever written") from None
    if written != text:  # a key given twice, NaN, a number in another form: readers would not agree on the meaning
        raise ValueError("not in the form in which it is always written")
    return value


def to_bytes(text: str) -> bytes:
    """Return the text as it is stored."""
    return text.encode("utf-8", "surrogatepass")


def from_bytes(data: bytes | bytearray) -> str:
    """Return stored text. Raises ValueError."""
    return data.decode("utf-8", "surrogatepass")


def with_whole_stack(call: Callable[[], T]) -> T:
    """Return ``call()``, made in a thread of its own if the caller's stack leaves too little room for it.

    Whether a checkpoint can be read must not depend on how deep in a training framework somebody asks for it.
    """
    try:
        return call()
    except RecursionError:
        results: list[T] = []

        def work() -> None:
            try:
                results.append(call())
            except (TypeError, ValueError, RecursionError) as error:
                failures.append(error)

        failures: list[Exception] = []
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if failures:
            raise failures[0] from None
        return results[0]


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _problems(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield what JSON cannot hold. Walks with a list, since the nesting may be what is wrong."""
    waiting, seen = [(value, path)], set()
    while waiting:
        found, where = waiting.pop()
        if isinstance(found, dict | list):
            if id(found) in seen:
                continue
            seen.add(id(found))
            items = [*(found.items() if isinstance(found, dict) else enumerate(found))]
            if isinstance(found, dict):
                yield from ((where, f"the key {key!r} is no string") for key in found if not isinstance(key, str))
            waiting += [(child, child_path(where, key)) for key, child in items]
        elif isinstance(found, float) and not math.isfinite(found):
            yield where, f'{found} is no JSON; write it as a node {{"$": "float", "v": "{found}"}}'
        elif isinstance(found, int) and abs(found) >= 10**_MAX_DIGITS:
            yield where, f"an integer of more than {_MAX_DIGITS} digits; write it as a string"
        elif not (found is None or isinstance(found, bool | int | float | str)):
            yield where, f"a {type(found).__name__} is no JSON"
