"""Numpy's dtypes as JSON, and back: structured ones with their offsets, dates with their unit, either byte order."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from model_checkpoint.contracts import JSON
from model_checkpoint.errors import StateDecodeError

_WORDS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_INEXACT = ("float16", "float32", "float64", "complex64", "complex128")
PLAIN: dict[str, np.dtype[Any]] = {word: np.dtype(word).newbyteorder("<") for word in (*_WORDS, *_INEXACT)}
"""The dtypes that other readers of a checkpoint know, by the word that is stored."""
_KINDS = "?bBhHiIlLqQpPefdgFDGSUVMm"
_MAX_NESTING = 32


def plain_word(dtype: np.dtype[Any]) -> str | None:
    """Return the word of a dtype that every reader knows, or None."""
    return next((word for word, known in PLAIN.items() if dtype == known), None)


def refusal(dtype: np.dtype[Any]) -> str | None:
    """Return why elements of `dtype` cannot be stored and what to do, or None."""
    if dtype.hasobject:
        return "an array of Python objects cannot be stored; store tolist(), or convert it with astype()"
    if dtype.fields:
        return next((why for field in dtype.fields.values() if (why := refusal(field[0]))), None)
    if dtype.subdtype:
        return refusal(dtype.subdtype[0])
    if dtype.char not in _KINDS or (dtype.kind == "V" and not issubclass(dtype.type, np.void)):
        return f"the dtype {dtype} cannot be stored; convert it with astype(), or view() it as integers"
    return None


def dtype_to_json(dtype: np.dtype[Any]) -> JSON:
    """Return what `dtype_from_json` needs."""
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names] if dtype.fields else []
        node: dict[str, JSON] = {
            "names": list(dtype.names),
            "formats": [dtype_to_json(field[0]) for field in fields],
            "offsets": [int(field[1]) for field in fields],
            "itemsize": dtype.itemsize,
            "aligned": dtype.isalignedstruct,
        }
        titles = [field[2] if len(field) > 2 else None for field in fields]
        if any(titles):
            node["titles"] = [None if title is None else str(title) for title in titles]
        return node | {"record": True} if dtype.type is np.record else node
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": dtype_to_json(base), "shape": [int(size) for size in shape]}
    return dtype.str


def dtype_from_json(node: JSON) -> np.dtype[Any]:
    """Return the dtype. Raises ``StateDecodeError`` for what `dtype_to_json` never writes, objects above all."""
    try:
        dtype = _read(node, _MAX_NESTING)
    except (TypeError, ValueError, KeyError, SyntaxError, OverflowError, MemoryError) as error:
        raise StateDecodeError(f"a stored numpy dtype cannot be read: {type(error).__name__}: {error}") from error
    if (why := refusal(dtype)) is not None:
        raise StateDecodeError(f"a stored numpy dtype cannot be read: {why}")
    return dtype


def _read(node: JSON, depth: int) -> np.dtype[Any]:
    if not depth:
        raise ValueError("nested too deeply")
    if isinstance(node, str):
        if "," in node:  # numpy would read a whole structure from the string
            raise ValueError(f"{node!r} is no dtype")
        return np.dtype(node)
    if not isinstance(node, dict):
        raise TypeError(f"a {type(node).__name__} is no dtype")
    if "base" in node:
        return np.dtype((_read(node["base"], depth - 1), tuple(cast("list[int]", node["shape"]))))
    formats = [_read(part, depth - 1) for part in cast("list[JSON]", node["formats"])]
    spec: Any = {key: node[key] for key in ("names", "offsets", "itemsize", "titles") if key in node}
    spec["formats"] = formats
    dtype: np.dtype[Any] = np.dtype(spec, align=node.get("aligned") is True)
    return np.dtype((np.record, dtype)) if node.get("record") is True else dtype
