"""What torch's tensors and small values look like in a stored tree, and how they are rebuilt from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn

from model_checkpoint.contracts import JSON, TensorView, TypedLeaf
from model_checkpoint.errors import StateDecodeError
from model_checkpoint.frameworks.torch_memory import (
    DTYPES,
    QUANTIZED,
    Base,
    c_order_bytes,
    layout_of,
    raw_bytes,
)

TENSOR, PARAMETER, SPARSE = "torch.tensor", "torch.parameter", "torch.sparse"
_WORDS: dict[str, dict[str, object]] = {
    f"torch.{kind.__name__}": {str(v).removeprefix("torch."): v for v in vars(torch).values() if isinstance(v, kind)}
    for kind in (torch.dtype, torch.layout, torch.memory_format)
}
_SPARSE_PARTS: dict[str, tuple[str, ...]] = {
    "sparse_coo": ("_indices", "_values"),
    "sparse_csr": ("crow_indices", "col_indices", "values"),
    "sparse_csc": ("ccol_indices", "row_indices", "values"),
    "sparse_bsr": ("crow_indices", "col_indices", "values"),
    "sparse_bsc": ("ccol_indices", "row_indices", "values"),
}


def view(value: object) -> TensorView | TypedLeaf | None:
    """Describe a tensor or a small value of torch; None for anything else. Raises TypeError with reason and remedy."""
    if isinstance(value, Tensor):
        return _view_tensor(value)
    word = f"torch.{type(value).__name__}"
    if word in _WORDS:
        return TypedLeaf(word, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return TypedLeaf("torch.device", str(value))
    if isinstance(value, torch.Size):
        return TypedLeaf("torch.Size", [int(size) for size in value])
    if isinstance(value, torch.utils.data.DataLoader):
        raise TypeError(
            "a torch DataLoader does not know how far it has got; use"
            " model_checkpoint.frameworks.torch_data.ResumableLoader in its place"
        )
    if isinstance(value, torch.UntypedStorage | torch.TypedStorage):
        raise TypeError("a torch storage cannot be stored; store a tensor that lies in it")
    return None


def _view_tensor(tensor: Tensor) -> TensorView | TypedLeaf:
    if (reason := _refusal(tensor)) is not None:
        raise TypeError(reason)
    attributes = _attributes(tensor)
    layout = str(tensor.layout).removeprefix("torch.")
    plain = tensor.detach()
    if layout in _SPARSE_PARTS:
        parts = [getattr(plain, part)() for part in _SPARSE_PARTS[layout]]
        details = {"layout": layout, "size": list(plain.shape), "parts": parts, **attributes}
        return TypedLeaf(SPARSE, {**details, "coalesced": layout == "sparse_coo" and plain.is_coalesced()})
    plain = plain.resolve_conj().resolve_neg()  # a copy where such a bit is set: its memory is nobody else's
    storage, size = plain.untyped_storage(), plain.element_size()
    return TensorView(
        dtype=str(plain.dtype).removeprefix("torch."),
        itemsize=size,
        shape=tuple(plain.shape),
        strides=plain.stride(),
        memory=(str(plain.device), storage.data_ptr()),
        offset=int(plain.storage_offset()) * size,
        contiguous=lambda: c_order_bytes(plain),
        span=lambda start, stop: raw_bytes(storage, start, stop),
        attributes={**attributes, **layout_of(plain)},
    )


def _refusal(tensor: Tensor) -> str | None:
    name = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
    if nn.parameter.is_lazy(tensor):
        return "this parameter has no shape yet; run one batch through its lazy module before saving"
    if type(tensor) not in (Tensor, nn.Parameter):
        remedy = "its full_tensor()" if hasattr(tensor, "full_tensor") else "it as_subclass(torch.Tensor), or its parts"
        return f"a {name} cannot be rebuilt from its elements; store {remedy}"
    if tensor.is_meta:
        return "this tensor is on the meta device and has no elements; create it on a real one, with to_empty()"
    if tensor.is_quantized or tensor.dtype in QUANTIZED:
        return "a quantized tensor cannot be stored; store int_repr(), q_scale() and q_zero_point(), or dequantize()"
    if tensor.is_nested:
        return "a nested tensor cannot be stored; store unbind(), the list of its parts"
    if tensor.layout not in (torch.strided, *(getattr(torch, word) for word in _SPARSE_PARTS)):
        return f"a tensor of layout {tensor.layout} cannot be stored; store to_dense()"
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return "this tensor exists inside a vmap, grad or functionalize only; store it after they returned"
    return None


def _attributes(tensor: Tensor) -> dict[str, JSON]:
    """A parameter wants gradients unless told; of other tensors only leaves do: what a graph made comes back plain."""
    if isinstance(tensor, nn.Parameter):
        return {"as": PARAMETER} if tensor.requires_grad else {"as": PARAMETER, "requires_grad": False}
    return {"as": TENSOR, "requires_grad": True} if tensor.requires_grad and tensor.is_leaf else {"as": TENSOR}


def rebuild(
    base: object,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    offset: int,
    attributes: Mapping[str, JSON],
) -> Tensor:
    """Return the tensor in a buffer. Raises ``StateDecodeError``."""
    known = DTYPES.get(dtype)
    if not isinstance(base, Base) or known is None or known in QUANTIZED:
        _malformed(f"this torch has no dtype {dtype!r}; it was saved with another version")
    return _dressed(base.tensor(known, shape, strides, offset, attributes.get("layout")), attributes)


def _dressed(tensor: Tensor, attributes: Mapping[str, object]) -> Tensor:
    kind, wants = attributes.get("as"), attributes.get("requires_grad")
    if wants not in (None, True, False):
        _malformed(f"requires_grad={wants!r} is neither true nor false")
    if kind == PARAMETER:
        return nn.Parameter(tensor, requires_grad=wants is not False)
    if kind != TENSOR:
        _malformed(f"{kind!r} is no kind of tensor that this version rebuilds")
    return tensor.requires_grad_() if wants else tensor


def rebuild_leaf(kind: str, value: object) -> object:
    """Return what `view` described as a leaf. Raises ``StateDecodeError``."""
    if kind in _WORDS and isinstance(value, str) and value in _WORDS[kind]:
        return _WORDS[kind][value]
    reader = _LEAVES.get(kind)
    if reader is None:
        _malformed(f"this torch has no {kind} {value!r}; it was saved with another version")
    return reader(value)


def _size(value: object) -> torch.Size:
    if not isinstance(value, list) or not all(type(size) is int and size >= 0 for size in value):
        _malformed(f"{value!r} is no size of a tensor")
    return torch.Size(value)


def _device(value: object) -> torch.device:
    return torch.device(value) if isinstance(value, str) else _malformed(f"{value!r} is no device")


def _sparse(value: object) -> Tensor:
    details = cast("dict[str, Any]", value)
    layout, parts, size = details["layout"], details["parts"], _size(details["size"])
    if layout not in _SPARSE_PARTS or len(parts) != len(_SPARSE_PARTS[layout]):
        _malformed(f"{layout!r} with {len(parts)} parts is no sparse layout")
    if not all(type(part) is Tensor for part in parts):
        _malformed("the parts of a sparse tensor are not tensors")
    if layout == "sparse_coo":
        coalesced = details["coalesced"] is True
        indices, values = parts
        made = torch.sparse_coo_tensor(indices, values, size, check_invariants=True, is_coalesced=coalesced)
    else:
        compressed, plain, values = parts
        kind = getattr(torch, layout)
        made = torch.sparse_compressed_tensor(compressed, plain, values, size, layout=kind, check_invariants=True)
    return _dressed(made, details)


def _malformed(why: str) -> NoReturn:
    raise StateDecodeError(f"the stored tree is not one that this process can read: {why}")


_LEAVES: dict[str, Callable[[object], object]] = {"torch.Size": _size, "torch.device": _device, SPARSE: _sparse}
