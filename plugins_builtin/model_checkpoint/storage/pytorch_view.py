"""What a person finds who opens a ``.pt`` file with ``torch.load``: state dicts under the names of their objects.

::

    model_state_dict       OrderedDict of tensors, as load_state_dict() takes it
    optimizer_state_dict   {"state": {0: {...}}, "param_groups": [...]}
    epoch, step, metrics   and the rest of the metadata

``torch.load(weights_only=True)`` reads a closed list of types. What is not on it (an enum, a date) stays the JSON node
by which the tree describes it, and as a key or in a set, which need something hashable, the text of that node.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from model_checkpoint.common import leaves
from model_checkpoint.common.leaves import KIND
from model_checkpoint.contracts import JSON, CheckpointPayload
from model_checkpoint.errors import StateDecodeError

_READABLE = {"str", "int", "float", "tuple", "set", "bytes", "bytearray", "complex", "dict", "odict", "counter"}
"""Kinds of nodes whose Python type ``weights_only`` reads, tried one by one with torch 2.13."""
_HASHED = {"set", "dict", "odict", "counter"}
_LITERAL = "as it stands"
_LEAVES: dict[str, Callable[[object], object]] = {
    "torch.device": lambda value: torch.device(str(value)),
    "torch.Size": lambda value: torch.Size(cast("list[int]", value)),
    "torch.dtype": lambda value: DTYPES[str(value)],
}
DTYPES: dict[str, torch.dtype] = {
    word: dtype
    for word in (
        *("float64", "float32", "float16", "bfloat16", "complex128", "complex64", "complex32", "bool"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"),
    )
    if isinstance(dtype := getattr(torch, word, None), torch.dtype)
}
"""The dtypes that torch writes and reads without help. It has more: what it cannot save is kept as bytes."""


def friendly_view(payload: CheckpointPayload, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """Return the entries for people. Their tensors lie in the memory of `tensors`, the buffers by name."""
    objects = payload.tree.get("objects")
    states = {f"{name}_state_dict": node for name, node in objects.items()} if isinstance(objects, dict) else {}
    metadata = cast("dict[str, JSON]", leaves.encode(dict(payload.metadata), lambda *_: None, path="metadata"))
    entries = {**(metadata if KIND not in metadata else {"metadata": metadata}), **states}
    return {name: _decoded(node, tensors) for name, node in entries.items()}


def _decoded(node: JSON, tensors: Mapping[str, Tensor]) -> object:
    def foreign(kind: str, node: Mapping[str, object], decode: Callable[[object], object]) -> object:
        if kind == _LITERAL:
            return node["v"]
        if kind == "tensor":
            return _tensor(node, tensors)
        return _leaf(node, decode)

    try:
        return leaves.decode(_prepared(node, hashed=False), foreign)
    except (StateDecodeError, LookupError, TypeError, ValueError):  # nothing that adapters write; shown as it is
        return node


def _prepared(node: object, *, hashed: bool) -> object:
    """Return `node` with every part that ``weights_only`` refuses marked as one to leave as it stands."""
    if isinstance(node, list):
        return [_prepared(item, hashed=hashed) for item in node]
    if not isinstance(node, dict):
        return node
    kind = node.get(KIND)
    if kind is None:
        return {key: _prepared(value, hashed=False) for key, value in node.items()}
    if kind in ("tensor", "leaf") and not hashed:
        return node
    if kind not in _READABLE:
        return {KIND: _LITERAL, "v": json.dumps(node) if hashed else node}
    if kind in _HASHED and isinstance(node["v"], list):
        value: object = [_prepared_entry(kind, entry) for entry in node["v"]]
    else:
        value = _prepared(node["v"], hashed=hashed)
    rest = {key: _prepared(part, hashed=False) for key, part in node.items() if key != "v"}
    return {**rest, "v": value}


def _prepared_entry(kind: str, entry: object) -> object:
    if kind == "set":
        return _prepared(entry, hashed=True)
    key, value = cast("Sequence[object]", entry)
    return [_prepared(key, hashed=True), _prepared(value, hashed=False)]


def _leaf(node: Mapping[str, object], decode: Callable[[object], object]) -> object:
    make = _LEAVES.get(str(node.get("kind")))
    try:
        return make(decode(node["v"])) if make is not None else node
    except (TypeError, ValueError, LookupError, RuntimeError):  # a word of another version of torch
        return node


def _tensor(node: Mapping[str, object], tensors: Mapping[str, Tensor]) -> object:
    """Return a view of the buffer's memory, or the node where this torch has no such view."""
    base, dtype = tensors.get(str(node["buffer"])), DTYPES.get(str(node["dtype"]))
    if base is None or dtype is None:
        return node
    shape, strides = cast("list[int]", node["shape"]), cast("list[int] | None", node.get("strides"))
    offset = cast("int", node.get("offset", 0))
    flat = base.reshape(-1)
    try:
        if flat.dtype != dtype:  # torch saves no memory under two dtypes: this one gets a copy
            usable = flat.view(torch.uint8)
            flat = usable[: usable.numel() // dtype.itemsize * dtype.itemsize].clone().view(dtype)
        if offset % dtype.itemsize:
            return node
        if strides is None:
            count = torch.Size(shape).numel()
            return flat[offset // dtype.itemsize :][:count].view(shape)
        return flat.as_strided(shape, strides, offset // dtype.itemsize)
    except (RuntimeError, TypeError, ValueError):
        return node
