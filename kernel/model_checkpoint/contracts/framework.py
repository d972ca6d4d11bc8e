"""The contract of a framework adapter: all that knows torch, numpy or another library's objects.

The kernel walks a state and asks the adapter of a value's package for everything that JSON lacks. It never imports a
framework itself: an adapter is created only when an object of one of its packages is met, or one is to be rebuilt.

The rules, each tested for every built-in:

1. ``capture`` returns nested dicts, lists and leaves; it copies no tensor and changes nothing, RNG streams included.
2. ``restore_into(obj, capture(obj))`` on a second object of the same make gives it the same state, bit for bit.
3. ``check`` changes nothing and reports every missing key, unexpected key and mismatch at once.
4. ``view`` and ``from_view`` are inverse: dtype, shape and elements come back bit for bit, on the CPU, and tensors that
   shared memory share it again, with their strides. A lone tensor without gaps keeps its order of dimensions in memory
   (channels last); one with gaps comes back C-contiguous, and a tensor of no elements has no strides to keep.
5. ``capture_rng`` draws nothing from the streams; after ``restore_rng`` they continue as they would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from model_checkpoint.contracts.state import JSON, Buffer


@dataclass(frozen=True, slots=True)
class TensorView:
    """One tensor as it lies in memory, before anybody copies it."""

    dtype: str
    """Element type, the word of `Buffer.dtype`."""
    itemsize: int
    """Bytes per element."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In elements, as the framework states them; never negative."""
    memory: tuple[str, int]
    """Device and address of the storage: two tensors with equal `memory` may overlap."""
    offset: int
    """Where its first element lies in that storage, in bytes."""
    contiguous: Callable[[], memoryview]
    """Return its elements as C-contiguous little-endian bytes (format ``B``); may be the live memory itself."""
    span: Callable[[int, int], memoryview]
    """``span(start, stop)``: the raw bytes [start, stop) of the storage."""
    attributes: Mapping[str, JSON] = field(default_factory=dict)
    """What else is needed to rebuild it, such as ``{"as": "torch.parameter"}``; ``as`` begins with a package. How a
    lone tensor lay in memory belongs here too: `contiguous` gives its elements in C order."""
    backwards: bool = False
    """`contiguous` gives the elements in another order than memory does: an axis of the array runs backwards."""


@dataclass(frozen=True, slots=True)
class TypedLeaf:
    """A value of the framework that is no tensor: ``torch.float16``, ``numpy.float32(3)``, a sparse tensor."""

    kind: str
    """Begins with the package that understands it: ``torch.dtype``, ``numpy.scalar``."""
    value: object
    """Anything the tree can hold, tensors included."""


@dataclass(frozen=True, slots=True)
class Mismatches:
    """How a stored state differs from the object it is meant for. Entries are keys, relative to the object."""

    missing: tuple[str, ...] = ()
    """Wanted by the object, absent from the state."""
    unexpected: tuple[str, ...] = ()
    """In the state, unknown to the object."""
    mismatched: Mapping[str, str] = field(default_factory=dict)
    """Key -> what differs, such as ``shape (10, 4) stored, (10, 5) live``."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.mismatched)


class FrameworkAdapter(Protocol):
    """Captures and restores the objects of one library. The module's docstring lists the rules."""

    @property
    def name(self) -> str:
        """The adapter's name, such as ``torch``."""

    def claims(self, obj: object) -> bool:
        """Say whether ``capture``, ``check`` and ``restore_into`` are for this object (a module, an optimizer)."""

    def capture(self, obj: Any) -> object:
        """Return the object's state as a tree of values and live tensors."""

    def check(self, obj: Any, state: object) -> Mismatches:
        """Compare a stored state with a live object and change nothing. The state may be of another kind altogether."""

    def restore_into(self, obj: Any, state: object, *, strict: bool) -> None:
        """Put `state` into `obj` in place. With ``strict=False`` what does not fit is left as it is."""

    def view(self, value: object) -> TensorView | TypedLeaf | None:
        """Describe a leaf of this framework, or return None where it is none. Raises TypeError with the reason and
        what to do where it is one that cannot be stored (a tensor on the meta device)."""

    def from_buffer(self, buffer: Buffer, base: object | None) -> object:
        """Return the base tensor of a buffer: flat bytes that `from_view` cuts. `base` is what an earlier call for the
        same buffer returned, or None."""

    def from_view(
        self,
        base: object,
        *,
        dtype: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        offset: int,
        attributes: Mapping[str, JSON],
    ) -> object:
        """Return the tensor that lies in `base` from byte `offset` on; ``strides=None`` means C-contiguous.

        Every argument comes from a file. Raises ``StateDecodeError`` where one element would lie outside of `base`;
        ``model_checkpoint.common.strides.check_within`` does the arithmetic.
        """

    def from_leaf(self, kind: str, value: object) -> object:
        """Rebuild a `TypedLeaf`; `value` comes from a file. Raises ``StateDecodeError`` or any other exception."""

    def capture_rng(self) -> object | None:
        """Return the state of the framework's global random streams, or None where it has none."""

    def check_rng(self, state: object) -> None:
        """Raise ``StateDecodeError`` where `restore_rng` would, and change nothing."""

    def restore_rng(self, state: object) -> None:
        """Put the global random streams back."""


@dataclass(frozen=True, slots=True)
class FrameworkAdapterDescriptor:
    """What ``register_framework_adapters`` returns for each adapter."""

    name: str
    packages: tuple[str, ...]
    """Top-level packages whose types it knows. Empty: asked last, for objects of any package."""
    create: Callable[[], FrameworkAdapter]
    """Called when such an object is first met; only then may the framework be imported."""
