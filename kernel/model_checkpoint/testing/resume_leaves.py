"""Takes the objects of a training apart into named values that can be compared bit for bit, and says how two differ.

It does not ask the adapters of the engine, whose work is being judged: gradients, ``requires_grad``, modes and buffers
that no state dict holds are looked at as well.
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model_checkpoint.errors import ConfigurationError

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_ROWS, _COLUMNS = ("crow_indices", "col_indices", "values"), ("ccol_indices", "row_indices", "values")
_SPARSE = {
    "torch.sparse_coo": ("_indices", "_values"),
    **dict.fromkeys(("torch.sparse_csr", "torch.sparse_bsr"), _ROWS),
    **dict.fromkeys(("torch.sparse_csc", "torch.sparse_bsc"), _COLUMNS),
}
ARRAY, PLAIN, STREAM = "array", "plain", "stream"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value: its text is the digest of an array or of a stream's state, or a plain value as Python writes it."""

    path: str
    sort: str
    """``array``, ``plain`` or ``stream``."""
    kind: str
    """Type, and for arrays the shape: ``float32[2, 3]``."""
    text: str
    data: bytes | None = None
    """The bytes of an array, where they are at hand."""
    place: tuple[str, int, int] | None = None
    """Where they were written: a file, an offset and a length in bytes."""

    def with_bytes(self) -> Leaf:
        """Return it with what was written."""
        if self.place is None:
            return self
        name, offset, length = self.place
        with Path(name).open("rb") as file:
            file.seek(offset)
            return replace(self, data=file.read(length))


def leaves_of(path: str, value: Any) -> Iterator[Leaf]:
    """Yield every value in `value`, in an order that is the same in every process.

    Raises ``ConfigurationError`` for what has no state that could be compared.
    """
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if isinstance(value, _PLAIN):
        yield Leaf(path, PLAIN, type(value).__name__, repr(value))
    elif torch is not None and isinstance(value, torch.Tensor):
        yield from _tensor(path, value)
    elif numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        yield from _array(path, numpy.asarray(value))
    elif torch is not None and isinstance(value, torch.nn.Module):
        yield from _module(path, value)
    elif torch is not None and isinstance(value, torch.optim.Optimizer):
        yield from leaves_of(path, value.state_dict())
        params = [param for group in value.param_groups for param in group["params"]]
        for number, param in enumerate(params):
            yield from _training(f"{path}.params[{number}]", param)
    elif torch is not None and isinstance(value, torch.Generator):
        yield _stream(path, value.get_state().tolist())
    elif isinstance(value, random.Random):
        yield _stream(path, value.getstate())
    elif numpy is not None and isinstance(value, numpy.random.Generator | numpy.random.RandomState):
        holder = value.bit_generator if isinstance(value, numpy.random.Generator) else value
        yield _stream(path, _listed(getattr(holder, "state", None) or holder.get_state(legacy=False)))
    elif isinstance(value, Mapping):
        yield Leaf(f"{path} keys", PLAIN, type(value).__name__, repr(list(value)))
        for key, item in value.items():
            yield from leaves_of(f"{path}.{key}" if isinstance(key, str) else f"{path}[{key!r}]", item)
    elif isinstance(value, list | tuple):
        yield Leaf(f"{path} length", PLAIN, type(value).__name__, repr(len(value)))
        for index, item in enumerate(value):
            yield from leaves_of(f"{path}[{index}]", item)
    elif isinstance(value, set | frozenset):
        yield Leaf(path, PLAIN, type(value).__name__, repr(sorted(map(repr, value))))
    elif callable(getattr(value, "state_dict", None)) and not isinstance(value, type):
        yield from leaves_of(path, value.state_dict())
    elif torch is not None and isinstance(value, torch.dtype | torch.device | torch.Size):
        yield Leaf(path, PLAIN, type(value).__name__, repr(value))
    elif callable(value):  # a rule of an optimizer or scheduler: the code is the same in both processes
        yield Leaf(path, PLAIN, "function", getattr(value, "__qualname__", type(value).__qualname__))
    else:
        raise ConfigurationError(
            f"{path} is a {type(value).__module__}.{type(value).__qualname__}, of which nothing can be compared: give"
            " modules, optimizers, what has a state_dict(), generators, tensors, arrays, and plain values in dicts,"
            " lists and tuples"
        )


def streams() -> Iterator[Leaf]:
    """Yield every global random stream of this process: Python's, numpy's, and torch's on each device in use."""
    yield _stream("streams.python", random.getstate())
    if numpy := sys.modules.get("numpy"):
        yield _stream("streams.numpy", _listed(numpy.random.get_state(legacy=False)))
    if torch := sys.modules.get("torch"):
        yield _stream("streams.torch.cpu", torch.get_rng_state().tolist())
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            for index, state in enumerate(torch.cuda.get_rng_state_all()):
                yield _stream(f"streams.torch.cuda[{index}]", state.tolist())


def difference(reference: Leaf | None, other: Leaf | None) -> str:
    """Return in words how a value of the resumed training differs from the uninterrupted one's."""
    if reference is None or other is None:
        return "only in the uninterrupted training" if other is None else "only in the resumed training"
    if reference.kind != other.kind:
        return f"{reference.kind} uninterrupted, {other.kind} resumed"
    if reference.sort == STREAM:
        return "this random stream stands somewhere else"
    if reference.sort == ARRAY:
        if reference.data is None or other.data is None:
            return f"{reference.kind}: other bits"
        return f"{reference.kind}: {_apart(reference, other)}"
    words = f"{_shortened(reference.text)} uninterrupted, {_shortened(other.text)} resumed"
    if reference.kind in ("int", "float"):
        words += f", {abs(float(reference.text) - float(other.text)):.3g} apart"
    return words


def _module(path: str, module: Any) -> Iterator[Leaf]:
    for name, param in module.named_parameters(remove_duplicate=False):
        yield from _tensor(f"{path}.{name}", param)
        yield from _training(f"{path}.{name}", param)
    for name, buffer in module.named_buffers(remove_duplicate=False):
        yield from _tensor(f"{path}.{name}", buffer)
    for name, state in module.state_dict().items():
        if name.endswith("_extra_state"):
            yield from leaves_of(f"{path}.{name}", state)
    modes = {name: inner.training for name, inner in module.named_modules()}
    yield Leaf(f"{path} training", PLAIN, "modes", repr(modes[""] if len(set(modes.values())) == 1 else modes))


def _training(path: str, param: Any) -> Iterator[Leaf]:
    yield Leaf(f"{path}.requires_grad", PLAIN, "bool", repr(param.requires_grad))
    if param.grad is None:
        yield Leaf(f"{path}.grad", PLAIN, "None", "None")
    else:
        yield from _tensor(f"{path}.grad", param.grad)


def _tensor(path: str, tensor: Any) -> Iterator[Leaf]:
    import torch

    plain = tensor.detach()
    plain = plain.to_local() if hasattr(plain, "to_local") else plain
    if parts := _SPARSE.get(str(plain.layout)):
        for name in parts:
            yield from _tensor(f"{path}.{name.strip('_')}", getattr(plain, name)())
        return
    plain = plain.resolve_conj().resolve_neg().cpu().contiguous()
    shape = list(plain.shape)
    data = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    yield _bits(path, f"{str(plain.dtype).removeprefix('torch.')}{shape}", data)


def _array(path: str, array: Any) -> Iterator[Leaf]:
    if array.dtype.hasobject:
        yield from leaves_of(path, array.tolist())
    else:
        yield _bits(path, f"{array.dtype}{list(array.shape)}", array.tobytes())


def _bits(path: str, kind: str, data: bytes) -> Leaf:
    return Leaf(path, ARRAY, kind, hashlib.sha256(data).hexdigest(), data)


def _stream(path: str, state: object) -> Leaf:
    return Leaf(path, STREAM, "stream", hashlib.sha256(repr(state).encode()).hexdigest())


def _listed(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: _listed(value) for key, value in state.items()}
    return state.tolist() if hasattr(state, "tolist") else state


def _apart(reference: Leaf, other: Leaf) -> str:
    """Return how many elements differ, by how much, and where the first one does."""
    import numpy as np

    assert reference.data is not None
    assert other.data is not None
    name, _, shape = reference.kind.partition("[")
    sizes = [int(size) for size in shape.rstrip("]").split(",") if size.strip()]
    one, two = (_numbers(name, data) for data in (reference.data, other.data))
    if one is None or two is None or one.size != math.prod(sizes):
        return "other bits"
    raw = [np.frombuffer(data, np.uint8).reshape(one.size, -1) for data in (reference.data, other.data)]
    differing = (raw[0] != raw[1]).any(axis=1)
    first = int(differing.argmax())
    with np.errstate(all="ignore"):
        wide = complex if np.iscomplexobj(one) else float
        apart = np.abs(one.astype(wide) - two.astype(wide))[differing]
    most = f", by at most {float(np.nanmax(apart)):.3g}" if np.isfinite(apart).any() else ", finite or not"
    place = f" at {[int(index) for index in np.unravel_index(first, sizes)]}" if sizes else ""
    values = f"{one[first]!s} uninterrupted, {two[first]!s} resumed"
    return f"{int(differing.sum())} of {one.size} elements differ{most}; the first{place}: {values}"


def _numbers(name: str, data: bytes) -> Any:
    import numpy as np

    if name == "bfloat16":
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    try:
        return np.frombuffer(data, np.dtype(name))
    except (TypeError, ValueError):  # numpy has no such numbers
        return None


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
