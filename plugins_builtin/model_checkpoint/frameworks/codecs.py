"""The plugin: plain safetensors files, PyTorch files, and the sharded layout of Hugging Face, written and read.

Files appear whole or not at all: they are written under another name, synced, and renamed. The libraries of the formats
do the rest, and are imported when they are first needed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from model_checkpoint.contracts import CodecDescriptor
from model_checkpoint.errors import IntegrityError, UnstorableStateError
from model_checkpoint.hooks import hookimpl

INDEX = "model.safetensors.index.json"
_MAX_INDEX_NBYTES = 64 * 1024 * 1024


def write_safetensors(
    tensors: Mapping[str, object], target: Path, *, metadata: Mapping[str, str], max_shard_nbytes: int
) -> list[Path]:
    """Write one ``.safetensors`` file."""
    with _appearing(target) as temp:
        _save_file(_torch_tensors(tensors), temp, metadata)
    return [target]


def write_torch(
    tensors: Mapping[str, object], target: Path, *, metadata: Mapping[str, str], max_shard_nbytes: int
) -> list[Path]:
    """Write a file that ``torch.load(weights_only=True)`` reads: the tensors by name."""
    import torch

    with _appearing(target) as temp:
        try:
            torch.save(_torch_tensors(tensors), temp)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(errno.EIO, str(error).splitlines()[0][:200]) from None
    return [target]


def write_huggingface(
    tensors: Mapping[str, object], target: Path, *, metadata: Mapping[str, str], max_shard_nbytes: int
) -> list[Path]:
    """Write a folder with ``model-00001-of-0000n.safetensors`` and an index, or one file where one is enough."""
    shards: list[dict[str, Any]] = [{}]
    nbytes = total = 0
    for name, tensor in _torch_tensors(tensors).items():
        if shards[-1] and nbytes + tensor.nbytes > max_shard_nbytes:
            shards.append({})
            nbytes = 0
        shards[-1][name] = tensor
        nbytes += tensor.nbytes
        total += tensor.nbytes
    count = len(shards)
    names = [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
    names = ["model.safetensors"] if count == 1 else names
    with _appearing(target, folder=True) as temp:
        for file, shard in zip(names, shards, strict=True):
            _save_file(shard, temp / file, metadata)
        if count > 1:
            weights = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
            index = {"metadata": {"total_size": total}, "weight_map": weights}
            (temp / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")
    return [target / name for name in (*names, *([INDEX] if count > 1 else []))]


def read_safetensors(source: Path) -> dict[str, object]:
    """Read one ``.safetensors`` file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(source))
    except SafetensorError as error:
        raise IntegrityError(f"{source} is no whole safetensors file: {error}", path=str(source)) from None


def read_torch(source: Path) -> dict[str, object]:
    """Read the tensors of a PyTorch file; nothing of it is run."""
    import torch

    try:
        found = torch.load(source, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of a file that is no file of torch, about anything may be said
        raise IntegrityError(
            f"{source} is no file of PyTorch whose tensors can be read without running code that it brings"
            f" ({type(error).__name__})",
            path=str(source),
        ) from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise IntegrityError(f"{source} holds no table of tensors by name", path=str(source))
    return dict(tensors)


def read_huggingface(source: Path) -> dict[str, object]:
    """Read a folder of safetensors files, with or without an index. The index leads to no file outside it."""
    if not source.is_dir():
        raise IntegrityError(f"{source} is no folder of shards", path=str(source))
    index, files = source / INDEX, sorted(source.glob("*.safetensors"))
    wanted: dict[str, str] | None = None
    if index.is_file():
        try:
            if index.stat().st_size > _MAX_INDEX_NBYTES:
                raise ValueError("it is too long")
            wanted = dict(json.loads(index.read_text("utf-8"))["weight_map"])
            files = [source / name for name in sorted(set(wanted.values())) if Path(name).name == name]
            if len(files) != len(set(wanted.values())):
                raise ValueError("it names a file outside its folder")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise IntegrityError(f"{index} is no index of shards: {error}", path=str(index)) from None
    found: dict[str, object] = {}
    for file in files:
        if not file.is_file():
            raise IntegrityError(f"{file} is gone, and {index.name} names it", path=str(file))
        found |= read_safetensors(file)
    if wanted is not None and (missing := sorted(set(wanted) - set(found))):
        raise IntegrityError(
            f"{source} lacks {len(missing)} tensors of its index, such as {missing[0]!r}", path=str(index)
        )
    return found


@hookimpl
def register_codecs(kernel: object) -> list[CodecDescriptor]:
    """Provide ``safetensors``, ``torch`` and ``huggingface``."""

    def ends_in(*suffixes: str) -> Callable[[Path], bool]:
        return lambda path: path.is_file() and path.suffix.lower() in suffixes

    def has_shards(path: Path) -> bool:
        return path.is_dir() and any(path.glob("*.safetensors"))

    return [
        CodecDescriptor(
            "safetensors", write_safetensors, read_safetensors, ends_in(".safetensors"), "one .safetensors file"
        ),
        CodecDescriptor(
            "torch", write_torch, read_torch, ends_in(".pt", ".pth", ".bin", ".ckpt"), "torch.save of the tensors"
        ),
        CodecDescriptor(
            "huggingface",
            write_huggingface,
            read_huggingface,
            has_shards,
            "a folder of safetensors shards with an index",
        ),
    ]


def _save_file(tensors: dict[str, Any], path: Path, metadata: Mapping[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if wrong := [name for name in tensors if name == "__metadata__" or not _is_text(name)]:
        raise UnstorableStateError([(name, "a safetensors file cannot hold a tensor of this name") for name in wrong])
    try:
        save_file(tensors, path, metadata={"format": "pt", **metadata})
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error).split("(")[0].strip()[:200]) from None
    except KeyError as error:
        bad = [(name, f"safetensors has no word for {each.dtype}") for name, each in tensors.items()]
        raise UnstorableStateError([one for one in bad if str(error.args[0]) in one[1]] or bad) from None


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


@contextlib.contextmanager
def _appearing(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """Give another name to write under; rename it to `target` once it is durable, remove it where anything fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        if folder:
            temp.mkdir()
        yield temp
        for path in [*sorted(temp.iterdir()), temp] if folder else [temp]:
            _sync(path)
        os.rename(temp, target)
        _sync(target.parent)
    except BaseException:
        if folder:
            shutil.rmtree(temp, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temp.unlink()
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _torch_tensors(tensors: Mapping[str, object]) -> dict[str, Any]:
    """Return contiguous tensors without shared memory: tied ones are written once for each of their names."""
    import torch

    found: dict[str, Any] = {}
    problems, held = [], set[int]()
    for name, value in tensors.items():
        try:
            tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
            tensor = tensor.detach().cpu().contiguous()
            place = tensor.untyped_storage().data_ptr()
            found[name] = tensor.clone() if place in held else tensor
            held.add(place)
        except (TypeError, ValueError, RuntimeError) as error:
            problems.append((name, f"{error}; only tensors and arrays of numbers can be exported"))
    if problems:
        raise UnstorableStateError(problems)
    return found
