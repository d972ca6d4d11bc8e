"""What torch and numpy call tensors, as raw bytes with a dtype's name, and back."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model_checkpoint.errors import UnstorableStateError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@functools.cache
def dtypes() -> dict[str, Any]:
    """Return every dtype of this torch by name. Quantized ones are not in: their bytes say nothing without a scale."""
    import torch

    found = {
        str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)
    }
    return {name: dtype for name, dtype in found.items() if not name.startswith(("qint", "quint"))}


def itemsizes() -> dict[str, int]:
    """Return the length in bytes of one element, by the dtype's name."""
    return {name: dtype.itemsize for name, dtype in dtypes().items()}


def dtype_name(tensor: Any) -> str:
    """Return ``bfloat16``."""
    return str(tensor.dtype).removeprefix("torch.")


def as_tensors(given: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tensors, each once, and which further names lead to which of them.

    Raises ``UnstorableStateError`` that names everything that cannot be stored.
    """
    import torch

    tensors: dict[str, Any] = {}
    ties: dict[str, str] = {}
    held: dict[object, str] = {}
    problems: list[tuple[str, str]] = []
    for name, value in given.items():
        try:
            tensor = value.detach() if isinstance(value, torch.Tensor) else torch.as_tensor(value)
            name.encode("utf-8")
        except UnicodeEncodeError:
            problems.append((repr(name), "half a character stands in its name: rename it"))
            continue
        except (TypeError, ValueError, RuntimeError) as error:
            problems.append((name, f"{error}; only tensors and arrays of numbers can be stored"))
            continue
        if why := _unstorable(tensor):
            problems.append((name, why))
            continue
        key = _place(tensor)
        if key is not None and key in held:
            ties[name] = held[key]
            continue
        if key is not None:
            held[key] = name
        tensors[name] = tensor
    if problems:
        raise UnstorableStateError(problems)
    return tensors, ties


def _unstorable(tensor: Any) -> str:
    if str(tensor.layout) != "torch.strided":
        return f"it is {tensor.layout}, and only dense tensors can be stored: call to_dense()"
    if tensor.is_meta:
        return "it is on the device meta, so it has no values"
    if dtype_name(tensor) not in dtypes():
        return f"its dtype {tensor.dtype} needs a scale that is not part of its bytes: call dequantize()"
    return ""


def _place(tensor: Any) -> object:
    """Return what two names of one tensor have in common; None where it has no bytes."""
    if tensor.numel() == 0:
        return None
    state = (tensor.is_conj(), tensor.is_neg())
    return (str(tensor.device), tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride(), state)


def raw_bytes(tensor: Any) -> NDArray[np.uint8]:
    """Return the values as bytes in the order of the indices; the tensor's own memory where it lies like that."""
    import torch

    plain = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    array: NDArray[np.uint8] = plain.reshape(-1).view(torch.uint8).numpy()
    return array


def empty(dtype: str, shape: tuple[int, ...], nbytes: int) -> tuple[Any, NDArray[np.uint8]]:
    """Return a tensor whose values are not set yet, and its bytes."""
    import torch

    memory = torch.empty(nbytes, dtype=torch.uint8)
    return memory.view(dtypes()[dtype]).reshape(shape), memory.numpy()
