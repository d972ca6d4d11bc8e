"""The conformance kit for storage backends: the numbered rules of ``model_checkpoint.contracts.storage``, as tests.

::

    from model_checkpoint.testing import StorageBackendTests
    from my_plugin import open_my_backend

    class TestMyBackend(StorageBackendTests):
        @pytest.fixture
        def root(self, tmp_path):            # a directory that need not exist yet
            return tmp_path / "store"

        @pytest.fixture
        def open_backend(self):              # an importable function (root, fs): other processes call it too
            return open_my_backend
"""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import StorageBackend
from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    IntegrityError,
    InvalidNameError,
    MissingFileError,
    StorageError,
)
from model_checkpoint.testing.faulty_fs import ALLOCATING, FaultyFs, snapshot
from model_checkpoint.testing.record_samples import in_processes, in_threads, rule
from model_checkpoint.testing.storage_samples import (
    BUFFER_NAMES,
    IDS,
    Opener,
    awkward_payload,
    buffer,
    check_competition,
    check_elsewhere,
    check_refused,
    compete,
    contents,
    overwrite,
    payload,
    variations,
    write_tolerantly,
)

FLIPS = 32
"""Bits flipped in each stored file."""
_UNKNOWN = (CheckpointNotFoundError, InvalidNameError)


class StorageBackendTests:
    """Subclass it and give `root` and `open_backend`: see the module's docstring."""

    shared: ClassVar[bool] = True
    """False for a backend that lives and dies in one object, such as one in memory: what needs two is skipped."""
    start_method: ClassVar[str] = "spawn"
    """How the processes of the tests begin (``multiprocessing``); ``spawn`` needs an importable `open_backend`."""

    @pytest.fixture
    def root(self) -> Path:
        """The backend's own directory."""
        raise NotImplementedError("override the fixture `root`")

    @pytest.fixture
    def open_backend(self) -> Opener:
        """The function that opens a backend."""
        raise NotImplementedError("override the fixture `open_backend`")

    @pytest.fixture
    def backend(self, root: Path, open_backend: Opener) -> Iterator[StorageBackend]:
        """A new, empty, open backend."""
        opened = open_backend(root, FsOps())
        yield opened
        opened.close()

    def stored_files(self, root: Path, checkpoint_id: str) -> list[Path]:
        """Return the files that hold a checkpoint: all that have its id in their name. Override it if yours differ."""
        found = (path for path in sorted(root.rglob("*")) if path.is_file())
        return [path for path in found if checkpoint_id in path.name]

    def is_commit(self, path: Path) -> bool:
        """Say whether a checkpoint exists just as long as this file of it. Override it if yours has such a file."""
        return False

    @rule(1)
    def test_what_was_written_is_read(self, backend: StorageBackend) -> None:
        for one in (payload("plain"), awkward_payload("awkward")):
            receipt = backend.write(one)
            assert receipt.checkpoint_id == one.checkpoint_id
            assert receipt.nbytes == one.nbytes
            assert contents(backend.read(one.checkpoint_id)) == contents(one)
        assert set(backend.list_ids()) == {"plain", "awkward"}

    @rule(1)
    def test_a_checkpoint_without_tensors_is_read(self, backend: StorageBackend) -> None:
        empty = replace(payload("empty"), tree={"objects": {}}, buffers=(), metadata={})
        backend.write(empty)
        assert contents(backend.read("empty")) == contents(empty)

    @rule(2)
    def test_another_process_reads_at_once_what_was_written(
        self, backend: StorageBackend, root: Path, open_backend: Opener
    ) -> None:
        if not (self.shared and backend.capabilities.durable):
            pytest.skip("this backend lives in one object")
        backend.write(payload("one"))
        in_processes(self.start_method, 1, check_elsewhere, open_backend, root, "one")

    @rule(3)
    def test_an_id_is_never_written_twice(self, backend: StorageBackend) -> None:
        backend.write(payload("one", seed=1))
        for seed in (1, 2):
            with pytest.raises(CheckpointExistsError, match="one"):
                backend.write(payload("one", seed=seed))
            assert contents(backend.read("one")) == contents(payload("one", seed=1))
        assert list(backend.list_ids()) == ["one"]

    @rule(4)
    @pytest.mark.parametrize("kind", ["EIO", "EIO after the call", "disk full"])
    def test_a_write_that_fails_at_any_call_leaves_nothing(self, root: Path, open_backend: Opener, kind: str) -> None:
        failing = 0
        while self._fails_cleanly(root / str(failing), open_backend, kind, failing):
            failing += 1
        assert failing > 3, "the backend's file-system calls do not go through `fs`"

    def _fails_cleanly(self, root: Path, open_backend: Opener, kind: str, failing: int) -> bool:
        """Let one call of a write fail; return whether there was such a call."""
        self._write_earlier(root, open_backend)
        fs = FaultyFs()
        backend = open_backend(root, fs)
        fault = OSError(errno.EIO if kind.startswith("EIO") else errno.ENOSPC, "as told")
        full = {"lasting": True, "only": ALLOCATING} if kind == "disk full" else {}
        fs.arm(after=failing, fault=fault, before="after" not in kind, **full)  # type: ignore[arg-type]
        written = True
        try:
            backend.write(payload("late", seed=2))
        except StorageError:
            written = False
        fs.disarm()
        if not fs.log:
            pytest.skip("this backend makes no file-system calls")
        assert set(backend.list_ids()) == ({"earlier", "late"} if written else {"earlier"}), fs.log
        assert contents(backend.read("earlier")) == contents(payload("earlier", seed=1))
        if not written:
            with pytest.raises(CheckpointNotFoundError):
                backend.read("late")
            backend.write(payload("late", seed=2))
        assert contents(backend.read("late")) == contents(payload("late", seed=2))
        backend.close()
        return fs.fired

    def _write_earlier(self, root: Path, open_backend: Opener) -> None:
        first = open_backend(root, FsOps())
        first.write(payload("earlier", seed=1))
        assert contents(first.read("earlier")) == contents(payload("earlier", seed=1))
        first.close()

    @rule(5)
    def test_a_flipped_bit_in_any_file_is_refused_by_name(self, backend: StorageBackend, root: Path) -> None:
        seeded = random.Random(0)
        for path in self._written(backend, root, "one"):
            whole = path.read_bytes()
            for bit in seeded.sample(range(len(whole) * 8), min(FLIPS, len(whole) * 8)):
                _put(path, _flipped(whole, bit))
                check_refused(backend, "one", path)
            _put(path, whole)
        assert contents(backend.read("one")) == contents(payload("one"))

    @rule(5)
    def test_a_file_of_another_length_is_refused_by_name(self, backend: StorageBackend, root: Path) -> None:
        for path in self._written(backend, root, "one"):
            whole = path.read_bytes()
            for changed in (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"\0", whole[:-8] + bytes(8)):
                _put(path, changed)
                check_refused(backend, "one", path)
            _put(path, whole)

    @rule(5)
    def test_the_files_of_another_checkpoint_are_refused(self, backend: StorageBackend, root: Path) -> None:
        files = self._written(backend, root, "one")
        backend.write(payload("two", seed=2))
        assert contents(backend.read("two")) == contents(payload("two", seed=2))
        others = dict(zip(files, self.stored_files(root, "two"), strict=True))
        whole = {path: path.read_bytes() for path in files}
        for changed in filter(None, (files[:1], files[1:], files)):
            for path in changed:
                _put(path, others[path].read_bytes())
            with pytest.raises(IntegrityError):
                backend.read("one")
            for path in files:
                _put(path, whole[path])

    @rule(5)
    def test_the_digest_commits_to_everything(self, backend: StorageBackend) -> None:
        digests = set()
        for one in (payload("one"), *variations(payload("one"))):
            receipt = backend.write(one)
            assert len(receipt.digest) == 64
            digests.add(receipt.digest)
            assert contents(backend.read("one", expected_digest=receipt.digest)) == contents(one)
            with pytest.raises(IntegrityError):
                backend.read("one", expected_digest="00" * 32)
            backend.forget("one")
        assert len(digests) == 1 + len(list(variations(payload("one"))))

    @rule(6)
    def test_an_unknown_id_is_not_found(self, backend: StorageBackend) -> None:
        backend.write(payload("one"))
        for call in (backend.read, backend.forget, backend.file_path):
            with pytest.raises(CheckpointNotFoundError, match="nobody"):
                call("nobody")

    @rule(6)
    def test_a_file_that_is_gone_is_named(self, backend: StorageBackend, root: Path) -> None:
        for path in self._written(backend, root, "one"):
            whole = path.read_bytes()
            path.unlink()
            if self.is_commit(path):
                with pytest.raises(CheckpointNotFoundError, match="one"):
                    backend.read("one")
            else:
                with pytest.raises(MissingFileError, match=path.name):
                    backend.read("one")
            _put(path, whole)
        assert contents(backend.read("one")) == contents(payload("one"))

    @rule(7)
    def test_a_whole_checkpoint_verifies(self, backend: StorageBackend) -> None:
        digest = backend.write(payload("one")).digest
        for expected in (None, digest):
            report = backend.verify("one", expected_digest=expected)
            assert (report.checkpoint_id, report.ok, report.bad_parts) == ("one", True, ())
            assert report.expected == report.actual == digest
            assert report.nbytes_read >= payload("one").nbytes
        assert not backend.verify("one", expected_digest="00" * 32).ok

    @rule(7)
    def test_damage_is_reported_by_name_and_not_raised(self, backend: StorageBackend, root: Path) -> None:
        for path in self._written(backend, root, "one"):
            whole = path.read_bytes()
            for changed in (_flipped(whole, 4 * len(whole)), whole[:-1], None):
                _put(path, changed)
                if changed is None and self.is_commit(path):
                    continue
                report = backend.verify("one")
                assert not report.ok
                assert path.name in "".join(report.bad_parts)
            _put(path, whole)
        assert backend.verify("one").ok

    @rule(7)
    def test_verifying_what_was_never_written_is_not_found(self, backend: StorageBackend) -> None:
        with pytest.raises(CheckpointNotFoundError):
            backend.verify("nobody")

    @rule(8)
    def test_a_forgotten_checkpoint_is_unknown_at_once_and_the_others_stay(self, backend: StorageBackend) -> None:
        backend.write(payload("one"))
        backend.write(payload("two", seed=2))
        assert backend.forget("one") >= payload("one").nbytes
        assert list(backend.list_ids()) == ["two"]
        for call in (backend.read, backend.forget, backend.verify, backend.file_path):
            with pytest.raises(CheckpointNotFoundError):
                call("one")
        assert contents(backend.read("two")) == contents(payload("two", seed=2))
        backend.write(payload("one", seed=5))
        assert contents(backend.read("one")) == contents(payload("one", seed=5))

    @rule(8)
    def test_a_collection_removes_nothing_that_is_needed(self, backend: StorageBackend) -> None:
        backend.write(payload("one"))
        backend.collect()
        assert contents(backend.read("one")) == contents(payload("one"))

    @rule(9)
    @pytest.mark.parametrize("name", IDS, ids=[ascii(name)[:20] for name in IDS])
    def test_an_id_is_never_a_path(self, root: Path, open_backend: Opener, name: str) -> None:
        inner = root / "deep" / "store"
        backend = open_backend(inner, FsOps())
        backend.write(payload("one"))
        assert contents(backend.read("one")) == contents(payload("one"))
        inside = {f"deep/store/{path}" for path in snapshot(inner)}
        try:
            backend.write(payload(name))
        except InvalidNameError:
            for call in (backend.read, backend.verify, backend.forget, backend.file_path):
                with pytest.raises(_UNKNOWN):
                    call(name)
            assert set(backend.list_ids()) == {"one"}
        else:
            assert contents(backend.read(name)) == contents(payload(name))
            assert set(backend.list_ids()) == {"one", name}
            inside |= {f"deep/store/{path}" for path in snapshot(inner)}
        assert set(snapshot(root)) <= inside
        backend.close()

    @rule(9)
    def test_the_name_of_a_buffer_is_kept_whatever_it_is(self, root: Path, open_backend: Opener) -> None:
        inner = root / "deep" / "store"
        backend = open_backend(inner, FsOps())
        buffers = [buffer(name, "float32", (2,), seed=number) for number, name in enumerate(BUFFER_NAMES)]
        one = replace(payload("one"), tree={"objects": {}}, buffers=buffers)
        backend.write(one)
        assert contents(backend.read("one")) == contents(one)
        backend.close()
        assert all(path.startswith("deep/store/") for path in snapshot(root))

    @rule(10)
    def test_what_was_read_may_be_changed_and_outlives_the_checkpoint(self, backend: StorageBackend) -> None:
        written = payload("one")
        backend.write(written)
        overwrite(written)
        first, second = backend.read("one"), backend.read("one")
        overwrite(first)
        first.tree.clear()
        assert contents(second) == contents(backend.read("one")) == contents(payload("one"))
        backend.forget("one")
        backend.write(payload("one", seed=9))
        assert contents(second) == contents(payload("one"))

    @rule(11)
    def test_threads_write_read_and_collect_at_once(self, backend: StorageBackend) -> None:
        def work(number: int) -> None:
            for index in range(4):
                backend.write(payload(f"own-{number}-{index}", seed=number))
                if write_tolerantly(backend, payload(f"shared-{index}", seed=number)):
                    backend.write(payload(f"won-{number}-{index}"))
                backend.collect()
                assert f"own-{number}-{index}" in set(backend.list_ids())

        in_threads(4, work)
        check_competition(backend, writers=4, count=4)

    @rule(11)
    def test_readers_never_see_a_half_of_what_comes_and_goes(self, backend: StorageBackend) -> None:
        whole = [contents(payload("one", seed=seed)) for seed in range(2)]

        def work(number: int) -> None:
            for index in range(20):
                if number == 0:
                    backend.write(payload("one", seed=index % 2))
                    backend.forget("one")
                else:
                    try:
                        assert contents(backend.read("one")) in whole
                        assert backend.verify("one").ok
                    except CheckpointNotFoundError:
                        continue

        in_threads(3, work)

    @rule(11)
    def test_processes_write_read_and_collect_at_once(self, root: Path, open_backend: Opener) -> None:
        if not self.shared:
            pytest.skip("this backend lives in one object")
        in_processes(self.start_method, 3, compete, open_backend, root, 5)
        backend = open_backend(root, FsOps())
        check_competition(backend, writers=3, count=5)
        backend.close()

    def _written(self, backend: StorageBackend, root: Path, checkpoint_id: str) -> list[Path]:
        """Write a checkpoint and return its files."""
        backend.write(payload(checkpoint_id))
        assert contents(backend.read(checkpoint_id)) == contents(payload(checkpoint_id))
        files = self.stored_files(root, checkpoint_id)
        if not files:
            pytest.skip("this backend has no files")
        return files


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def _put(path: Path, data: bytes | None) -> None:
    """Put `data` in the place of a stored file, which may be read-only; None takes the file away."""
    path.unlink(missing_ok=True)
    if data is not None:
        path.write_bytes(data)
