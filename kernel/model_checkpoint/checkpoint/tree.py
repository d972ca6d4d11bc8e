"""Turns nested values with tensors of any framework into JSON and buffers, and back. Knows no framework itself.

::

    {"w": Parameter(2x3)}  ->  {"w": {"$": "tensor", "buffer": "w", "dtype": "float32", "shape": [2, 3],
                                      "attributes": {"as": "torch.parameter"}}}   +   Buffer("w", 24 bytes)
    torch.float16          ->  {"$": "leaf", "kind": "torch.dtype", "v": "float16"}

A tensor that lies in the buffer of another has ``"offset"`` (bytes, unless 0) and ``"strides"`` (elements, unless
C-contiguous). What comes back is checked against its buffer before any memory is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from model_checkpoint.checkpoint.sharing import share
from model_checkpoint.common.leaves import KIND, decode, encode
from model_checkpoint.common.strides import check_within
from model_checkpoint.contracts import JSON, Buffer, FrameworkAdapter, TensorView, TypedLeaf
from model_checkpoint.errors import CheckpointEngineError, StateDecodeError, UnstorableStateError

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.services import Adapters

TENSOR, LEAF = "tensor", "leaf"
_MAX_DIMS = 64
_MAX_NAME = 500


@dataclass(frozen=True, slots=True)
class FlatTree:
    """A state as a storage backend takes it. The buffers may be live memory: nothing was copied that need not be."""

    tree: JSON
    buffers: list[Buffer]


def flatten(value: object, adapters: Adapters, *, path: str, hidden: Sequence[str] = ()) -> FlatTree:
    """Return `value` as JSON and buffers.

    Args:
        value: anything of the vocabulary in ``common.leaves``, tensors and objects that an adapter knows.
        path: where `value` stands, for names and errors.
        hidden: beginnings of paths that names and errors leave out; the first that fits counts.

    Raises ``UnstorableStateError`` that lists every leaf which cannot be stored.
    """
    flattener = _Flattener(adapters)
    try:
        tree = encode(value, flattener.foreign, path=path)
    except UnstorableStateError as error:
        raise UnstorableStateError([(_without(where, hidden), why) for where, why in error.problems]) from None
    return FlatTree(cast(JSON, tree), flattener.buffers(hidden))


def unflatten(tree: object, buffers: Sequence[Buffer], adapters: Adapters) -> object:
    """Return what `flatten` was given; tensors of one buffer share memory again.

    The tree is data from elsewhere. Raises ``StateDecodeError`` for anything in it that `flatten` would not write or
    that this process cannot rebuild.
    """
    return decode(tree, _Rebuilder(buffers, adapters))


class _Flattener:
    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters
        self._by_type: dict[type, FrameworkAdapter | None] = {}
        self._tensors: list[tuple[dict[str, object], TensorView, str, str]] = []

    def foreign(self, value: object, path: str, encode: Callable[[object, str], object]) -> object | None:
        adapter = self._adapter_of(type(value))
        found = adapter.view(value) if adapter is not None else None
        if adapter is not None and isinstance(found, TensorView):
            node: dict[str, object] = {KIND: TENSOR, "buffer": "", "dtype": found.dtype, "shape": list(found.shape)}
            self._tensors.append((node, found, path, adapter.name))
            return node
        if isinstance(found, TypedLeaf):
            return {KIND: LEAF, "kind": found.kind, "v": encode(found.value, path)}
        owner = self._adapters.for_object(value)
        state = value if owner is None else owner.capture(value)
        return None if state is value else encode(state, path)

    def _adapter_of(self, kind: type) -> FrameworkAdapter | None:
        if kind not in self._by_type:
            packages = [cls.__module__.partition(".")[0] for cls in kind.__mro__]
            known = (self._adapters.for_package(package) for package in packages)
            self._by_type[kind] = next((adapter for adapter in known if adapter is not None), None)
        return self._by_type[kind]

    def buffers(self, hidden: Sequence[str]) -> list[Buffer]:
        """Decide what shares a buffer, complete the nodes accordingly, and return the buffers."""
        found: dict[str, Buffer] = {}
        views, owners = [view for _, view, _, _ in self._tensors], [name for _, _, _, name in self._tensors]
        for shared in share(views, owners):
            name = _unique(_without(self._tensors[shared.owner][2], hidden), found)
            found[name] = Buffer(name, shared.dtype, shared.shape, shared.data)
            for index, offset, strides in shared.members:
                node, view, _, adapter = self._tensors[index]
                node["buffer"] = name
                if strides is not None:
                    node["strides"] = list(strides)
                if offset:
                    node["offset"] = offset
                node["attributes"] = {"as": f"{adapter}.tensor", **view.attributes}
        return list(found.values())


def _without(path: str, hidden: Sequence[str]) -> str:
    return next((path[len(start) :] for start in hidden if path.startswith(start)), path)


def _unique(path: str, taken: Mapping[str, object]) -> str:
    """Return the name of a buffer: the path in printable UTF-8 of bounded length, numbered where it is taken."""
    text = path if path.isprintable() else path.encode("unicode_escape").decode("ascii")
    text = text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 3]}..."
    name, number = text, 1
    while name in taken:
        number += 1
        name = f"{text}#{number}"
    return name


class _Rebuilder:
    """Rebuilds the nodes that `_Flattener` wrote."""

    def __init__(self, buffers: Sequence[Buffer], adapters: Adapters) -> None:
        self._buffers = {buffer.name: buffer for buffer in buffers}
        self._adapters = adapters
        self._bases: dict[tuple[str, str], object] = {}

    def __call__(self, kind: str, node: Mapping[str, object], decode: Callable[[object], object]) -> object:
        if kind == TENSOR:
            return self._tensor(node)
        if kind == LEAF:
            word = node.get("kind")
            adapter = self._adapter(word)
            value = decode(node.get("v"))
            return _guarded(f"the {word}", lambda: adapter.from_leaf(str(word), value))
        raise StateDecodeError(f"the stored tree holds a {kind!r}, which this version of the engine does not know")

    def _tensor(self, node: Mapping[str, object]) -> object:
        name, dtype, attributes = node.get("buffer"), node.get("dtype"), node.get("attributes")
        buffer = self._buffers.get(name) if isinstance(name, str) else None
        if buffer is None:
            raise StateDecodeError(f"the stored tree has a tensor in buffer {name!r}, and there is no such buffer")
        if not isinstance(dtype, str) or not isinstance(attributes, dict):
            raise StateDecodeError(f"the tensor in buffer {name!r} lacks its dtype or its attributes")
        shape, offset = _sizes(node.get("shape"), buffer.name), _size(node.get("offset", 0), buffer.name)
        strides = _sizes(node["strides"], buffer.name) if "strides" in node else None
        check_within(buffer.data.nbytes, itemsize=0, shape=shape, strides=strides, offset=offset)
        adapter = self._adapter(attributes.get("as"))

        def rebuild() -> object:
            key = (adapter.name, buffer.name)
            base = self._bases[key] = adapter.from_buffer(buffer, self._bases.get(key))
            return adapter.from_view(
                base, dtype=dtype, shape=shape, strides=strides, offset=offset, attributes=attributes
            )

        return _guarded(f"the tensor in buffer {buffer.name!r}", rebuild)

    def _adapter(self, word: object) -> FrameworkAdapter:
        package = word.partition(".")[0] if isinstance(word, str) else ""
        adapter = self._adapters.for_package(package)
        if adapter is None:
            raise StateDecodeError(
                f"the stored tree holds a {word!r}, and no installed plugin knows the package {package!r}:"
                " install and enable the one that it was saved with"
            )
        return adapter


def _guarded(what: str, rebuild: Callable[[], object]) -> object:
    try:
        return rebuild()
    except CheckpointEngineError:
        raise
    except Exception as error:  # the tree is not ours, and a framework may refuse it in words of its own
        raise StateDecodeError(f"{what} cannot be rebuilt: {type(error).__name__}: {error}") from error


def _size(value: object, name: str) -> int:
    if type(value) is int:
        return value
    raise StateDecodeError(f"the tensor in buffer {name!r} has {value!r} where a number belongs")


def _sizes(value: object, name: str) -> tuple[int, ...]:
    if isinstance(value, list) and len(value) <= _MAX_DIMS:
        return tuple(_size(item, name) for item in value)
    raise StateDecodeError(f"the tensor in buffer {name!r} has no list of at most {_MAX_DIMS} sizes")
