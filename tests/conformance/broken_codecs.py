"""For each rule of the kit a codec that breaks this one alone: a whole one, with one thing wrong."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from model_checkpoint.common.fsops import FsOps, replace_file
from model_checkpoint.contracts import CodecDescriptor
from model_checkpoint.errors import IntegrityError, UnstorableStateError

MAGIC = b'{"format": "of the tests", '


def entry(name: str, value: object) -> dict[str, object]:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise UnstorableStateError([(name, "it is no array of numbers")])
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def text_of(tensors: Mapping[str, object]) -> bytes:
    entries = [entry(name, value) for name, value in tensors.items()]
    text = json.dumps({"format": "of the tests", "tensors": entries}, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def write(tensors, target, *, metadata, max_shard_nbytes):
    replace_file(FsOps(), target, text_of(tensors))
    return [target]


def array_of(entry: Mapping[str, object]) -> np.ndarray:
    data = bytearray(base64.b64decode(entry["data"], validate=True))
    return np.frombuffer(data, np.dtype(entry["dtype"])).reshape(entry["shape"])


def read(source):
    try:
        content = json.loads(source.read_bytes().decode("utf-8", "surrogatepass"))
        return {entry["name"]: array_of(entry) for entry in content["tensors"]}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{source} is no whole file of the tests: {error}", path=str(source)) from None


def detects(path):
    return path.is_file() and path.read_bytes().startswith(MAGIC)


WHOLE = CodecDescriptor("of the tests", write, read, detects)


def forgets_that_it_was_a_scalar(source):
    return {name: each.reshape(each.shape or (1,)) for name, each in read(source).items()}


def writes_each_name_as_a_file(tensors, target, **options):
    for name in tensors:
        if name and "\0" not in name and len(name) < 200 and "/" in name and not name.startswith("/"):
            beside = target.parent / name
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(b"")
    return write(tensors, target, **options)


def names_a_file_too_few(tensors, target, **options):
    write(tensors, target, **options)
    return []


def leaves_what_it_began(tensors, target, **options):
    target.with_suffix(".part").write_bytes(b"begun")
    files = write(tensors, target, **options)
    target.with_suffix(".part").unlink()
    return files


def takes_every_file_for_its_own(path):
    return path.is_file()


def runs_what_it_reads(source):
    data = source.read_bytes()
    if data.startswith(b"\x80"):
        return dict(pickle.loads(data))
    return read(source)


def puts_what_it_is_given_in_order(tensors, target, **options):
    for name in sorted(tensors):
        tensors[name] = tensors.pop(name)
    return write(tensors, target, **options)


BROKEN: dict[int, Callable[[], CodecDescriptor]] = {
    1: lambda: replace(WHOLE, read=forgets_that_it_was_a_scalar),
    2: lambda: replace(WHOLE, write=writes_each_name_as_a_file),
    3: lambda: replace(WHOLE, write=names_a_file_too_few),
    4: lambda: replace(WHOLE, write=leaves_what_it_began),
    5: lambda: replace(WHOLE, detects=takes_every_file_for_its_own),
    6: lambda: replace(WHOLE, read=runs_what_it_reads),
    7: lambda: replace(WHOLE, write=puts_what_it_is_given_in_order),
}


def whole() -> CodecDescriptor:
    return WHOLE


def target_of(folder: Path) -> Path:
    return folder / "out" / "file"
