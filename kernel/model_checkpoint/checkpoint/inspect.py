"""Compares two stored checkpoints, and looks at a whole store: what is damaged, unrecorded, gone."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.checkpoint.verify import verify
from model_checkpoint.common.digest import sha256_hex
from model_checkpoint.errors import CheckpointNotFoundError, ConfigurationError

if TYPE_CHECKING:
    from numpy import ndarray

    from model_checkpoint.checkpoint.services import Services
    from model_checkpoint.contracts import JSON, Buffer, CheckpointRecord, VerifyReport

_PIECE = 1 << 20
"""Elements that are compared at once: as 64-bit numbers they take a few MB."""


@dataclass(frozen=True, slots=True)
class TensorChange:
    """How a tensor of one checkpoint became that of another."""

    first: str
    """Its type and shape, such as ``float32 (10, 20)``."""
    second: str
    max_abs: float | None
    """The largest absolute difference of two elements; None where shapes differ or numpy has no such type."""
    norm: float | None
    """The Euclidean norm of the difference; None likewise."""


@dataclass(frozen=True, slots=True)
class DiffReport:
    """How one checkpoint differs from another."""

    added: tuple[str, ...]
    """Tensors that only the second has, sorted; so are the others."""
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    metrics: Mapping[str, tuple[float | None, float | None]]
    """Those that differ, each with both values."""
    metadata: Mapping[str, tuple[JSON, JSON]]
    """What else was saved beside the state and differs: epoch, step, tags, environment..."""
    read_changes: Callable[[], Mapping[str, TensorChange]] = field(default=dict, repr=False, compare=False)
    """Reads both checkpoints, while the kernel is open, and returns how far each of `changed` moved.

    Raises ``IntegrityError``."""


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a look at everything found."""

    verified: tuple[str, ...]
    damaged: Mapping[str, tuple[str, ...]]
    """By id, what is wrong with it."""
    missing: tuple[str, ...]
    """Ids that are recorded and not stored: their files are lost, or a deletion broke off."""
    unrecorded: tuple[str, ...]
    """Ids that are stored and not recorded: `Kernel.rebuild` records them. A save or a deletion that takes longer than
    the whole look is here or in `missing` too."""
    unavailable: Mapping[str, int]
    """By storage backend that no usable plugin provides: how many recorded checkpoints could not be looked at."""

    @property
    def ok(self) -> bool:
        """Whether everything that is recorded is stored and whole, and everything stored is recorded."""
        return not (self.damaged or self.missing or self.unrecorded)


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What one storage backend holds, and what it takes on disk."""

    backend: str
    checkpoints: int
    nbytes: int
    """Bytes of the tensors of all recorded checkpoints together, as if each were stored by itself."""
    nbytes_on_disk: int
    """Bytes of all its files, manifests and trash included; 0 for one that has none."""

    @property
    def dedup_ratio(self) -> float:
        """How many times more the checkpoints hold than they take on disk."""
        return self.nbytes / self.nbytes_on_disk if self.nbytes_on_disk else 1.0


def store_info(services: Services, backends: Iterable[str], root: Path) -> list[StoreInfo]:
    """Return what each of `backends`, whose folders lie in `root`, holds."""
    held: dict[str, list[int]] = {name: [] for name in backends}
    for record in services.records.list_checkpoints():
        held.setdefault(record.backend, []).append(record.nbytes)
    return [StoreInfo(name, len(sizes), sum(sizes), _nbytes_in(root / name)) for name, sizes in sorted(held.items())]


def _nbytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def diff(services: Services, first: CheckpointRecord, second: CheckpointRecord) -> DiffReport:
    """Compare by digests where the backends keep some, else by reading. Raises ``IntegrityError``."""
    one, other = _digests(services, first), _digests(services, second)
    both = sorted(one.keys() & other.keys())
    told = [services.backends.open(record.backend).describe(record.id).metadata for record in (first, second)]
    names = sorted(first.metrics.keys() | second.metrics.keys())
    values = {name: (first.metrics.get(name), second.metrics.get(name)) for name in names}
    entries = {name: (told[0].get(name), told[1].get(name)) for name in {**told[0], **told[1]} if name != "metrics"}
    changed = tuple(name for name in both if one[name] != other[name])
    return DiffReport(
        added=tuple(sorted(other.keys() - one.keys())),
        removed=tuple(sorted(one.keys() - other.keys())),
        changed=changed,
        same=tuple(name for name in both if one[name] == other[name]),
        metrics={name: pair for name, pair in values.items() if pair[0] != pair[1]},
        metadata={name: pair for name, pair in entries.items() if pair[0] != pair[1]},
        read_changes=partial(_changes, services, (first, second), changed),
    )


def _changes(
    services: Services, records: Iterable[CheckpointRecord], names: Iterable[str]
) -> Mapping[str, TensorChange]:
    one, other = (
        {buffer.name: buffer for buffer in services.backends.open(each.backend).read(
            each.id, expected_digest=each.digest or None, depth="fast").buffers}
        for each in records
    )  # fmt: skip
    return {name: _change(one[name], other[name]) for name in names}


def _change(one: Buffer, other: Buffer) -> TensorChange:
    first, second = (f"{each.dtype} {each.shape}" for each in (one, other))
    if one.shape != other.shape:
        return TensorChange(first, second, None, None)
    import numpy as np  # when it is first needed: the kernel itself does without

    largest = total = np.float64(0)
    try:
        with np.errstate(all="ignore"):  # infinities and NaN are told as such
            for before, after in zip(_numbers(one), _numbers(other), strict=True):
                moved = np.abs(after - before)
                largest, total = np.maximum(largest, moved.max()), total + np.sum(moved * moved)
    except TypeError:  # of numpy, for a type that it does not have
        return TensorChange(first, second, None, None)
    return TensorChange(first, second, float(largest), float(np.sqrt(total)))


def _numbers(buffer: Buffer) -> Iterator[ndarray]:
    """Yield the elements piece by piece, as 64-bit numbers. Raises TypeError."""
    import numpy as np

    short = buffer.dtype == "bfloat16"  # the upper half of a float32
    elements = np.frombuffer(buffer.data, np.dtype("<u2" if short else buffer.dtype).newbyteorder("<"))
    for start in range(0, len(elements), _PIECE):
        piece = elements[start : start + _PIECE]
        piece = (piece.astype(np.uint32) << 16).view(np.float32) if short else piece
        yield piece.astype(np.complex128 if piece.dtype.kind == "c" else np.float64)


def check_store(
    services: Services, backends: Iterable[str], usable: Collection[str], depth: str, subset: str | None
) -> StoreReport:
    """Verify every stored checkpoint, or the part `subset` of them, and compare storage with the records.

    `usable` are the storage backends that there are; what others hold cannot be looked at. `subset` is ``2/7``: the
    second of seven parts, which together are everything; an id is always in the same one.
    """
    part, parts = _subset(subset)
    unavailable: Counter[str] = Counter()
    recorded, stored = _recorded(services), _stored(services, backends)
    for checkpoint_id, record in list(recorded.items()):
        if record.backend not in usable:
            unavailable[record.backend] += 1
            del recorded[checkpoint_id]
    chosen = sorted(each for each in stored & recorded.keys() if zlib.crc32(each.encode()) % parts == part)
    reports: list[VerifyReport] = []
    gone = recorded.keys() - stored
    for checkpoint_id in chosen:
        try:
            reports.append(verify(services, recorded[checkpoint_id], depth, gone_is_damage=False))
        except CheckpointNotFoundError:
            gone.add(checkpoint_id)
    # a save or a deletion that was under way at the first look has come to its end since, unless it broke off
    recorded_now, stored_now = _recorded(services).keys(), _stored(services, backends)
    return StoreReport(
        verified=tuple(report.checkpoint_id for report in reports if report.ok),
        damaged={report.checkpoint_id: report.bad_parts for report in reports if not report.ok},
        missing=tuple(sorted(gone & recorded_now - stored_now)),
        unrecorded=tuple(sorted((stored - recorded.keys()) & stored_now - recorded_now)),
        unavailable=dict(sorted(unavailable.items())),
    )


def _recorded(services: Services) -> dict[str, CheckpointRecord]:
    return {record.id: record for record in services.records.list_checkpoints()}


def _stored(services: Services, backends: Iterable[str]) -> set[str]:
    return {checkpoint_id for name in backends for checkpoint_id in services.backends.open(name).list_ids()}


def _digests(services: Services, record: CheckpointRecord) -> Mapping[str, str]:
    backend = services.backends.open(record.backend)
    known = backend.describe(record.id).tensors
    if known or not record.nbytes:
        return known
    payload = backend.read(record.id, expected_digest=record.digest or None)
    return {buffer.name: sha256_hex(buffer.data) for buffer in payload.buffers}


def _subset(subset: str | None) -> tuple[int, int]:
    if subset is None:
        return 0, 1
    part, _, parts = str(subset).partition("/")
    if not (part.isascii() and part.isdecimal() and parts.isascii() and parts.isdecimal()) or not (
        1 <= int(part) <= int(parts) <= 10_000
    ):
        raise ConfigurationError(f"subset={subset!r} is no part: write '2/7' for the second of seven")
    return int(part) - 1, int(parts)
