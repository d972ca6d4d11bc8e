"""Tensors out of checkpoints into files of other tools, and from such files into checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from model_checkpoint.checkpoint.capture import OBJECTS
from model_checkpoint.checkpoint.tree import unflatten
from model_checkpoint.common.fsops import typed_errors, typed_read_errors
from model_checkpoint.common.leaves import child_path
from model_checkpoint.errors import (
    CheckpointExistsError,
    ConfigurationError,
    IntegrityError,
    UnstorableStateError,
)

if TYPE_CHECKING:
    from model_checkpoint.checkpoint.services import Services
    from model_checkpoint.contracts import CheckpointRecord, CodecDescriptor, Descriptor
    from model_checkpoint.plugins import Registry

MAX_SHARD_NBYTES = 5_000_000_000


def export(
    services: Services,
    codecs: Registry[Descriptor],
    record: CheckpointRecord,
    target: Path,
    format: str,
    object_name: str | None,
    max_shard_nbytes: int,
) -> list[Path]:
    """Write the tensors of one object of a checkpoint, or of all of them, and return the files."""
    codec = _codec(codecs, format)
    if type(max_shard_nbytes) is not int or max_shard_nbytes < 1:
        raise ConfigurationError(
            f"max_shard_nbytes={max_shard_nbytes!r} is no number of bytes: give an int, at least 1"
        )
    if target.exists() or target.is_symlink():
        raise CheckpointExistsError(f"{target} exists already, and an export replaces nothing: choose another name")
    backend = services.backends.open(record.backend)
    payload = backend.read(record.id, expected_digest=record.digest or None, depth="full")
    whole = unflatten(payload.tree, payload.buffers, services.adapters)
    assert isinstance(whole, dict)
    objects = whole[OBJECTS]
    if object_name is None and set(objects) != {"model"}:
        state: object = objects
    else:
        state = objects.get(object_name or "model")
        if state is None:
            raise ConfigurationError(
                f"checkpoint {record.id} holds no {object_name!r}; it holds {', '.join(sorted(objects)) or 'nothing'}"
            )
    tensors: dict[str, object] = {}
    for name, tensor in _tensors(state, "", services):
        if name in tensors:
            raise UnstorableStateError([(name, "two tensors would have this name in a file: export one object")])
        tensors[name] = tensor
    if not tensors:
        raise ConfigurationError(
            f"checkpoint {record.id} holds no tensors{f' in {object_name!r}' if object_name else ''}"
        )
    told = {"checkpoint_id": record.id, "run": record.run_name, "digest": record.digest}
    with typed_errors("exporting to", target):
        return codec.write(tensors, target, metadata=told, max_shard_nbytes=max_shard_nbytes)


def read_tensors(codecs: Registry[Descriptor], given: object, format: str | None) -> dict[str, object]:
    """Return the tensors of a file or folder of another tool. Raises ``ConfigurationError``, ``IntegrityError``."""
    if not isinstance(given, str | os.PathLike) or not isinstance(os.fspath(given), str):
        raise ConfigurationError(f"{given!r} is no path: give a string or a pathlib.Path")
    source = Path(given)
    if not source.exists():
        raise ConfigurationError(f"there is no file or folder {source}")
    if format is None:
        found = [codec for name in codecs.names() if (codec := _codec(codecs, name)).detects(source)]
        if not found:
            raise ConfigurationError(
                f"of which format {source} is cannot be told from its name: say format=, one of"
                f" {', '.join(codecs.names())}"
            )
        codec = found[0]
    else:
        codec = _codec(codecs, format)
    with typed_read_errors(source):
        tensors = codec.read(source)
    if not tensors:
        raise IntegrityError(f"there are no tensors in {source}", path=str(source))
    return tensors


def _codec(codecs: Registry[Descriptor], name: str) -> CodecDescriptor:
    codec = codecs.get(name) if isinstance(name, str) else None
    if codec is None:
        raise ConfigurationError(f"format={name!r} is not known; known: {', '.join(codecs.names()) or 'none'}")
    return cast("CodecDescriptor", codec)


def _tensors(state: object, path: str, services: Services) -> Iterator[tuple[str, object]]:
    """Yield the tensors and arrays of a state by the path on which a user finds them."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, child_path(path, key) if path else str(key), services)
    elif isinstance(state, list | tuple):
        for index, value in enumerate(state):
            yield from _tensors(value, child_path(path, index), services)
    elif hasattr(state, "shape") and hasattr(state, "dtype"):
        yield path, state
