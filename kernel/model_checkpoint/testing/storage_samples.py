"""What the kit for storage backends is made of: awkward payloads and names, and work for threads and processes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import JSON, Buffer, CheckpointPayload, StorageBackend
from model_checkpoint.errors import CheckpointEngineError, IntegrityError

Opener = Callable[[Path, FsOps], StorageBackend]

IDS = (
    "../x", "..\\x", "a/b", "/etc/passwd", "C:\\x", "%2e%2e%2f", "%252e%252e%252f", "a;/../../etc", "nul\0inside",
    "new\nline", "\u202eright to left", "x" * 10_000, "", ".", "..", "CON", "\U0001f99c", "dot.", "space ", "\ud800",
)  # fmt: skip
"""Names that come from outside and must never become paths."""
BUFFER_NAMES = (*IDS, "__metadata__", "data", "tmp", "a.b", "A.B", "buffer-0", "buffer-1", "\ud83d\ude00", "\U0001f600")
"""Names of tensors, which are kept as they are. Two of them differ only in how a surrogate pair is written."""
DTYPES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "complex128": 16, "complex64": 8, "int64": 8, "int32": 4,
    "int16": 2, "int8": 1, "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1, "float8_e4m3fn": 1,
    "float8_e5m2": 1, "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1, "of tomorrow": 3,
}  # fmt: skip
"""Element types and the bytes of one element; the last is nobody's."""
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (7,), (0,), (2, 0, 3), (3, 1, 2), (1, 1, 1, 5))


def buffer(name: str, dtype: str, shape: Sequence[int], *, seed: int = 0) -> Buffer:
    """Return a buffer with bytes that depend on `seed`. Those of a bool are 0 and 1."""
    nbytes = math.prod(shape) * DTYPES[dtype]
    values = [(seed + 7 * index + len(name)) % (2 if dtype == "bool" else 251) for index in range(nbytes)]
    return Buffer(name, dtype, tuple(shape), memoryview(bytearray(values)))


def tensor_node(of: Buffer) -> JSON:
    """Return the node by which a tree refers to the whole of a buffer."""
    return {"$": "tensor", "buffer": of.name, "dtype": of.dtype, "shape": list(of.shape)}


def payload(checkpoint_id: str, seed: int = 0) -> CheckpointPayload:
    """Return a small checkpoint of a model and an optimizer; another seed gives another content."""
    weight = buffer("model.weight", "float32", (3, 4), seed=seed)
    bias = buffer("model.bias", "float32", (3,), seed=seed + 1)
    moment = buffer("optimizer.state[0].exp_avg", "bfloat16", (3, 4), seed=seed + 2)
    objects: dict[str, JSON] = {
        "model": {"$": "odict", "v": {"bias": tensor_node(bias), "weight": tensor_node(weight)}},
        "optimizer": {"lr": 0.1, "state": {"$": "dict", "v": [[0, {"exp_avg": tensor_node(moment)}]]}},
    }
    metadata: dict[str, JSON] = {"epoch": seed, "metrics": {"val_loss": 0.5}, "run": "digits-1", "step": 10 * seed}
    return CheckpointPayload(checkpoint_id, {"objects": objects, "rng": {}}, (weight, bias, moment), metadata)


def awkward_payload(checkpoint_id: str) -> CheckpointPayload:
    """Return one of every dtype and shape, with keys out of order and values that formats like to lose."""
    buffers = [
        buffer(f"{dtype}{list(shape)}", dtype, shape, seed=number)
        for number, dtype in enumerate(DTYPES)
        for shape in SHAPES
    ]
    values: dict[str, JSON] = {
        "z": 1,
        "a": True,
        "one": 1.0,
        "minus zero": -0.0,
        "tenth": 0.1,
        "tiny": 5e-324,
        "wide": 2**53,
        "none": None,
        "": {"": []},
        "texts": ["é", "\U0001f99c", "nul\0", "line\n\u2028", "\ud800", "\ud83d\ude00"],
        "nodes": {"$": "tuple", "v": [{"$": "float", "v": "nan"}, {"$": "of tomorrow", "v": None}, {"$": "tensor"}]},
        "deep": _nested(60),
    }
    tree: dict[str, JSON] = {
        "rng": {},
        "objects": {"tensors": {each.name: tensor_node(each) for each in buffers}, "values": values},
    }
    odd: dict[str, JSON] = {"nan": math.nan, "inf": -math.inf, "big": 10**400, "$": {"$": "x", "v": [1]}}
    return CheckpointPayload(checkpoint_id, tree, buffers, {**values, **odd, "b": 1, "A": None})


def _nested(depth: int) -> JSON:
    node: JSON = "bottom"
    for level in range(depth):
        node = {"down": node} if level % 2 else [node]
    return node


def variations(of: CheckpointPayload) -> Iterator[CheckpointPayload]:
    """Yield payloads that each differ from `of` in one thing only."""
    first, *rest = of.buffers
    flipped = memoryview(bytearray(first.data))
    flipped[-1] ^= 1
    other: Sequence[Buffer] = (
        replace(first, data=flipped),
        replace(first, name=first.name + "x"),
        replace(first, dtype="int32"),
        replace(first, shape=first.shape[::-1]),
    )
    yield from (replace(of, buffers=(each, *rest)) for each in other)
    yield replace(of, buffers=tuple(of.buffers)[::-1])
    yield replace(of, metadata={**of.metadata, "epoch": 99})
    yield replace(of, metadata=dict(reversed([*of.metadata.items()])))
    yield replace(of, tree={**of.tree, "rng": {"python": 1}})
    yield replace(of, tree=dict(reversed(of.tree.items())))


def described(value: object) -> object:
    """Return `value` as something equal only to an equal one: order of keys, types, -0.0 and NaN count."""
    if isinstance(value, dict):
        return "dict", [(key, described(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [described(item) for item in value]
    if isinstance(value, float):
        return "float", value.hex()
    return type(value).__name__, value


def contents(of: CheckpointPayload) -> dict[str, object]:
    """Return all of a payload, comparable and shown in parts."""
    return {
        "id": of.checkpoint_id,
        "tree": described(of.tree),
        "metadata": described(dict(of.metadata)),
        "buffers": [(each.name, each.dtype, tuple(each.shape), bytes(each.data)) for each in of.buffers],
    }


def write_tolerantly(backend: StorageBackend, one: CheckpointPayload) -> bool:
    """Write and say whether it was this call that did. Being refused is an answer too; which one is rule 3's affair."""
    try:
        backend.write(one)
    except CheckpointEngineError:
        return False
    return True


def check_elsewhere(
    number: int, start: threading.Barrier, open_backend: Opener, root: Path, checkpoint_id: str
) -> None:
    """Work for `in_processes`: read a checkpoint that another process wrote."""
    start.wait(60)
    backend = open_backend(root, FsOps())
    assert contents(backend.read(checkpoint_id)) == contents(payload(checkpoint_id))
    assert checkpoint_id in set(backend.list_ids())
    backend.close()


def check_refused(backend: StorageBackend, checkpoint_id: str, damaged: Path) -> None:
    """See that a damaged file is refused by its name, unless its bytes were found whole elsewhere."""
    message = ""
    try:
        assert contents(backend.read(checkpoint_id)) == contents(payload(checkpoint_id))
    except IntegrityError as refused:
        message = str(refused)
    assert not message or damaged.name in message


def compete(number: int, start: threading.Barrier, open_backend: Opener, root: Path, count: int) -> None:
    """Work for `in_processes`: write checkpoints of one's own, and compete for ids with everybody else."""
    backend = open_backend(root, FsOps())
    start.wait(60)
    for index in range(count):
        backend.write(payload(f"own-{number}-{index}", seed=number))
        if write_tolerantly(backend, payload(f"shared-{index}", seed=number)):
            backend.write(payload(f"won-{number}-{index}"))
        backend.collect()
        assert f"own-{number}-{index}" in set(backend.list_ids())
    backend.close()


def check_competition(backend: StorageBackend, writers: int, count: int) -> None:
    """See that everything is there, and each id that all wanted has the content of the one who got it."""
    present = set(backend.list_ids())
    for index in range(count):
        winners = [number for number in range(writers) if f"won-{number}-{index}" in present]
        assert len(winners) == 1
        held = contents(backend.read(f"shared-{index}"))
        assert held == contents(payload(f"shared-{index}", seed=winners[0]))
    for number in range(writers):
        for index in range(count):
            one = payload(f"own-{number}-{index}", seed=number)
            assert contents(backend.read(one.checkpoint_id)) == contents(one)
            assert backend.verify(one.checkpoint_id).ok


def overwrite(of: CheckpointPayload) -> None:
    """Write zeros into every buffer, which must be memory that may be written to."""
    for each in of.buffers:
        each.data[:] = bytes(each.nbytes)
