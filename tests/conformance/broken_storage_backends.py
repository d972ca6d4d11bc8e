"""For each rule of the contract a backend that breaks this one alone: the real one, with one thing wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend
from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    IntegrityError,
    MissingFileError,
    StorageError,
)
from model_checkpoint.storage.safetensors import open_safetensors


class Whole:
    """The real backend behind a door that the others leave ajar."""

    def __init__(self, root: Path, fs: FsOps) -> None:
        self.root = root
        self.inner = open_safetensors(root, fs)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


class TurnsScalarsIntoVectors(Whole):
    def read(self, checkpoint_id, *, expected_digest=None):
        found = self.inner.read(checkpoint_id, expected_digest=expected_digest)
        return replace(found, buffers=[replace(each, shape=each.shape or (1,)) for each in found.buffers])


class KeepsItsFirstCheckpointToItself(Whole):
    """Others see it at the next call only."""

    def __init__(self, root: Path, fs: FsOps) -> None:
        super().__init__(root, fs)
        self.shown = self.hidden = None
        self.first = True

    def __getattr__(self, name: str) -> object:
        self.show()
        return super().__getattr__(name)

    def show(self) -> None:
        if self.hidden is not None:
            self.hidden.rename(self.shown)
            self.hidden = None

    def write(self, payload):
        self.show()
        receipt = self.inner.write(payload)
        if self.first:
            self.first = False
            self.shown = self.root / receipt.files[1].name
            self.hidden = self.shown.rename(self.shown.with_suffix(".hidden"))
        return receipt


class CallsATakenIdAFailureOfTheDisk(Whole):
    def write(self, payload):
        try:
            return self.inner.write(payload)
        except CheckpointExistsError as error:
            raise StorageError(str(error)) from error


class ListsWhatItCouldNotWrite(Whole):
    def __init__(self, root: Path, fs: FsOps) -> None:
        super().__init__(root, fs)
        self.failed: set[str] = set()

    def write(self, payload):
        try:
            return self.inner.write(payload)
        except StorageError:
            self.failed.add(payload.checkpoint_id)
            raise

    def list_ids(self):
        return iter({*self.inner.list_ids(), *self.failed})


class HandsOutDamage(Whole):
    def __init__(self, root: Path, fs: FsOps) -> None:
        super().__init__(root, fs)
        self.read_before: dict[str, object] = {}

    def read(self, checkpoint_id, *, expected_digest=None):
        try:
            self.read_before[checkpoint_id] = self.inner.read(checkpoint_id, expected_digest=expected_digest)
        except MissingFileError:
            raise
        except IntegrityError:
            return self.read_before[checkpoint_id]
        return self.inner.read(checkpoint_id, expected_digest=expected_digest)


class DoesNotMissAFile(Whole):
    def read(self, checkpoint_id, *, expected_digest=None):
        try:
            return self.inner.read(checkpoint_id, expected_digest=expected_digest)
        except MissingFileError:
            raise CheckpointNotFoundError(f"there is no checkpoint {checkpoint_id}") from None


class RaisesWhereItShouldReport(Whole):
    def verify(self, checkpoint_id, *, expected_digest=None):
        report = self.inner.verify(checkpoint_id, expected_digest=expected_digest)
        if not report.ok:
            raise IntegrityError(report.bad_parts[0])
        return report


class SaysThatNothingBecameFree(Whole):
    def forget(self, checkpoint_id):
        self.inner.forget(checkpoint_id)
        return 0


class TurnsDotsInNamesIntoFolders(Whole):
    def write(self, payload):
        shortened = [replace(each, name=each.name.replace("..", "/")) for each in payload.buffers]
        return self.inner.write(replace(payload, buffers=shortened))


class HandsOutMemoryThatCannotBeWritten(Whole):
    def read(self, checkpoint_id, *, expected_digest=None):
        found = self.inner.read(checkpoint_id, expected_digest=expected_digest)
        return replace(found, buffers=[replace(each, data=each.data.toreadonly()) for each in found.buffers])


class BelongsToOneThread(Whole):
    def __init__(self, root: Path, fs: FsOps) -> None:
        super().__init__(root, fs)
        self.taken = threading.Lock()

    def write(self, payload):
        if not self.taken.acquire(blocking=False):
            raise StorageError("in use by another thread")
        try:
            time.sleep(0.002)  # long enough for another one to come
            return self.inner.write(payload)
        finally:
            self.taken.release()


BROKEN: dict[int, Callable[[Path, FsOps], StorageBackend]] = {
    1: TurnsScalarsIntoVectors,
    2: KeepsItsFirstCheckpointToItself,
    3: CallsATakenIdAFailureOfTheDisk,
    4: ListsWhatItCouldNotWrite,
    5: HandsOutDamage,
    6: DoesNotMissAFile,
    7: RaisesWhereItShouldReport,
    8: SaysThatNothingBecameFree,
    9: TurnsDotsInNamesIntoFolders,
    10: HandsOutMemoryThatCannotBeWritten,
    11: BelongsToOneThread,
}
