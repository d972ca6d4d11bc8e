"""What numpy's arrays, scalars and dtypes look like in a stored tree, and how they are rebuilt from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from model_checkpoint.common.strides import c_strides, is_dense
from model_checkpoint.contracts import JSON, TensorView, TypedLeaf
from model_checkpoint.errors import StateDecodeError
from model_checkpoint.frameworks.numpy_dtypes import PLAIN, dtype_from_json, dtype_to_json, plain_word, refusal
from model_checkpoint.frameworks.numpy_memory import Array, Base, address_of, c_order_bytes, raw_bytes, root_of

ARRAY, MASKED, SCALAR, DTYPE = "numpy.array", "numpy.masked", "numpy.scalar", "numpy.dtype"
_SUBCLASSES: dict[str, type] = {"matrix": np.matrix, "recarray": np.recarray}
_AS_PLAIN = (np.ndarray, np.memmap)
"""A memory-mapped array is stored by its values and comes back in memory."""


def view(value: object) -> TensorView | TypedLeaf | None:
    """Describe an array, scalar or dtype; None for anything else. Raises TypeError with reason and remedy."""
    if isinstance(value, np.ndarray):
        return _view_array(value)
    if isinstance(value, np.generic):
        return _view_scalar(value)
    if isinstance(value, np.dtype):
        return TypedLeaf(DTYPE, _checked(value))
    return None


def _checked(dtype: np.dtype[Any]) -> JSON:
    if (why := refusal(dtype)) is not None:
        raise TypeError(why)
    return dtype_to_json(dtype)


def _view_scalar(value: Any) -> TypedLeaf:
    if type(value) in (np.str_, np.bytes_):  # numpy drops the NULs at the end of their bytes
        return TypedLeaf(SCALAR, {"text": str.__str__(value) if isinstance(value, str) else bytes(value)})
    return TypedLeaf(SCALAR, {"dtype": _checked(value.dtype), "data": value.tobytes()})


def _view_array(array: Any) -> TensorView | TypedLeaf:
    described = _checked(array.dtype)
    kind = type(array)
    if kind is np.ma.MaskedArray:
        # not its public fill_value: asking for that one sets it
        parts = {"data": array.data, "mask": array.mask, "fill_value": array._fill_value, "hard": array.hardmask}
        return TypedLeaf(MASKED, parts)
    attributes: dict[str, JSON] = {"as": ARRAY}
    if kind not in _AS_PLAIN:
        name = next((name for name, known in _SUBCLASSES.items() if known is kind), None)
        if name is None:
            raise TypeError(
                f"a {kind.__module__}.{kind.__qualname__} cannot be rebuilt from its elements; store np.asarray of it"
            )
        attributes["class"] = name
    whole = array.view(np.ndarray)
    backwards = [axis for axis, stride in enumerate(whole.strides) if stride < 0] if whole.size else []
    if turned := [axis for axis in backwards if whole.shape[axis] > 1]:
        attributes["flip"] = list(turned)
    return _lying(whole, np.flip(whole, tuple(backwards)) if backwards else whole, described, attributes)


def _lying(whole: Array, forwards: Array, described: JSON, attributes: dict[str, JSON]) -> TensorView:
    """Describe `whole` by `forwards`, the same elements with no dimension that runs backwards."""
    word, size = plain_word(whole.dtype), whole.itemsize
    shape, strides = forwards.shape, forwards.strides
    if word is None or any(step % size for step in strides):
        attributes["dtype"] = described
        word, size, shape, strides = "uint8", 1, (*shape, size), (*strides, 1)
    strides = tuple(step // size for step in strides) if whole.size else c_strides(shape)
    if strides != c_strides(shape) and is_dense(shape, strides):
        attributes["layout"] = list(strides)
    root = root_of(forwards)
    low, _ = np.lib.array_utils.byte_bounds(root)
    return TensorView(
        dtype=word,
        itemsize=size,
        shape=shape,
        strides=strides,
        memory=("cpu", int(low)),
        offset=address_of(forwards) - int(low),
        contiguous=lambda: c_order_bytes(whole),
        span=lambda start, stop: raw_bytes(root, start, stop),
        backwards="flip" in attributes,
        attributes=attributes,
    )


def rebuild(
    base: object,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    offset: int,
    attributes: Mapping[str, JSON],
) -> object:
    """Return the array in a buffer. Raises ``StateDecodeError``."""
    bytewise = "dtype" in attributes
    known = dtype_from_json(attributes["dtype"]) if bytewise else PLAIN.get(dtype)
    if not isinstance(base, Base) or known is None or (bytewise and dtype != "uint8") or attributes["as"] != ARRAY:
        raise StateDecodeError(f"numpy has no dtype {dtype!r}; the state was saved with another version")
    layout, flip = attributes.get("layout"), attributes.get("flip")
    array = base.array(known, shape, strides, offset, layout, flip, bytewise=bytewise)
    name = attributes.get("class")
    if name is None:
        return array
    if name not in _SUBCLASSES:
        raise StateDecodeError(f"{name!r} is no kind of array that this version rebuilds")
    return array.view(_SUBCLASSES[str(name)])


def rebuild_leaf(kind: str, value: object) -> object:
    """Return what `view` described as a leaf. Raises ``StateDecodeError``, or what numpy raises for a bad value."""
    if kind == DTYPE:
        return dtype_from_json(cast(JSON, value))
    if kind not in (SCALAR, MASKED) or not isinstance(value, dict):
        raise StateDecodeError(f"this version knows no {kind!r}")
    return _masked(value) if kind == MASKED else _scalar(value)


def _scalar(node: dict[str, Any]) -> object:
    if "text" in node:
        return np.str_(node["text"]) if isinstance(node["text"], str) else np.bytes_(bytes(node["text"]))
    dtype = dtype_from_json(node["dtype"])
    if not isinstance(node["data"], bytes) or len(node["data"]) != dtype.itemsize:
        raise StateDecodeError(f"a number of {dtype} has {dtype.itemsize} bytes")
    holder = np.zeros((), dtype)
    if dtype.itemsize:
        holder = np.frombuffer(bytearray(node["data"]), dtype).reshape(())
    return holder[()]


def _masked(node: dict[str, Any]) -> object:
    if not isinstance(node["data"], np.ndarray):
        raise StateDecodeError("the data of a masked array are no array")
    return np.ma.MaskedArray(
        node["data"], mask=node["mask"], fill_value=node["fill_value"], hard_mask=node["hard"] is True
    )
