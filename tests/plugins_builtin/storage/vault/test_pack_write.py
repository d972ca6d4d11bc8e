"""How a pack is written: by many threads, past the page cache, at any size; and what happens when it goes wrong."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import Buffer
from model_checkpoint.errors import StorageFullError, TornSnapshotError
from model_checkpoint.storage.vault import pack_write, segments
from model_checkpoint.storage.vault.pack import PackHeader, pack_name
from model_checkpoint.storage.vault.pack_read import damaged, open_pack
from model_checkpoint.storage.vault.pack_write import Identity, PackWriter

LARGE = pack_write.SMALL_NBYTES


class Holds:
    """A lookup that knows some contents."""

    def __init__(self, *known: Identity) -> None:
        self.xxh3 = {one.xxh3 for one in known}
        self.sha256 = {one.sha256 for one in known}
        self.asked: list[str] = []

    def may_hold(self, xxh3: str, nbytes: int) -> bool:
        return xxh3 in self.xxh3

    def holds(self, sha256: str, nbytes: int) -> bool:
        self.asked.append(sha256)
        return sha256 in self.sha256


def buffers(*sizes: int, dtype: str = "uint8") -> dict[int, Buffer]:
    seeded = np.random.default_rng(sum(sizes))
    made = [memoryview(seeded.integers(0, 255, size, np.uint8)) for size in sizes]
    return {number: Buffer(f"t{number}", dtype, (data.nbytes,), data) for number, data in enumerate(made)}


@pytest.fixture
def writer() -> Iterator[PackWriter]:
    made = PackWriter(FsOps())
    yield made
    made.close()


def check(folder: Path, temp: Path, header: PackHeader, given: dict[int, Buffer]) -> None:
    """See that the file is a pack that holds every one of `given`, for us and for safetensors."""
    path = temp.rename(folder / pack_name(header.digest))
    pack = open_pack(FsOps(), path)
    try:
        assert pack.header == header
        assert damaged([(pack, tensor) for tensor in header.tensors], "full") == []
        assert damaged([(pack, tensor) for tensor in header.tensors], "fast") == []
        for buffer in given.values():
            tensor = pack.tensors[hashlib.sha256(buffer.data).hexdigest()]
            assert bytes(pack.memory(tensor)) == bytes(buffer.data)
            assert tensor.nbytes % 4096 or tensor.begin % 4096 == 0
    finally:
        pack.close()
    with safetensors.safe_open(path, "numpy") as opened:
        assert set(opened.keys()) == {tensor.name for tensor in header.tensors}
    assert path.stat().st_mode & 0o222 == 0


@pytest.mark.parametrize(
    "sizes",
    [
        (1,),
        (0, 0, 5),
        (4096,) * 3,
        (LARGE,),
        (LARGE + 1, 3),
        (segments.SEGMENT_NBYTES, segments.SEGMENT_NBYTES),
        (segments.SEGMENT_NBYTES * 3 + 17, 4096, 5),
        tuple(range(1, 3000)),
        (30_000_000, *range(100, 200), 9_000_000, 12_345_678),
    ],
    ids=lambda sizes: f"{len(sizes)} of {sum(sizes)} bytes",
)
def test_every_size_comes_back(tmp_path: Path, writer: PackWriter, sizes: tuple[int, ...]) -> None:
    given_ones = buffers(*sizes)
    written = writer.write(tmp_path / "temp", given_ones, Holds())
    assert written.header is not None
    assert set(written.identities) == set(given_ones)
    check(tmp_path, tmp_path / "temp", written.header, given_ones)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=40))
def test_any_sizes_over_small_segments_come_back(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("packs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_NBYTES", 16_384)
        patch.setattr(segments, "PIECE_NBYTES", 5000)
        patch.setattr(pack_write, "SMALL_NBYTES", 1)
        writer = PackWriter(FsOps())
        written = writer.write(folder / "temp", buffers(*sizes), Holds())
    assert written.header is not None
    check(folder, folder / "temp", written.header, buffers(*sizes))


def test_what_is_stored_is_not_written_and_what_only_looks_alike_is(tmp_path: Path, writer: PackWriter) -> None:
    given_ones = buffers(100, 200, 300)
    known = writer.write(tmp_path / "temp", given_ones, Holds()).identities
    alike = Identity("00" * 32, known[1].xxh3, 200)  # the fast digest of another content
    written = writer.write(tmp_path / "again", given_ones, Holds(known[0], alike))
    assert written.header is not None
    assert {tensor.sha256 for tensor in written.header.tensors} == {known[1].sha256, known[2].sha256}
    assert written.identities == known
    assert writer.write(tmp_path / "none", given_ones, Holds(*known.values())).header is None
    assert not (tmp_path / "none").exists()


def test_what_is_remembered_is_still_looked_up(tmp_path: Path, writer: PackWriter) -> None:
    given_ones = buffers(100, 200)
    known = writer.write(tmp_path / "temp", given_ones, Holds()).identities
    remembered = {given_ones[number].name: identity for number, identity in known.items()}
    gone = Holds(known[0])
    written = writer.write(tmp_path / "again", given_ones, gone, remembered=remembered)
    assert written.header is not None
    assert [tensor.sha256 for tensor in written.header.tensors] == [known[1].sha256]
    assert set(gone.asked) == {known[0].sha256, known[1].sha256}


def test_a_header_without_room_for_everything_leaves_the_rest_for_another_pack(
    tmp_path: Path, writer: PackWriter
) -> None:
    left, rounds, given_ones = buffers(*range(1, 400)), 0, buffers(*range(1, 400))
    while left:
        written = writer.write(tmp_path / str(rounds), left, Holds(), expected_new=100)
        assert written.header is not None
        check(tmp_path, tmp_path / str(rounds), written.header, {n: left[n] for n in written.identities})
        left = {number: buffer for number, buffer in left.items() if number not in written.identities}
        rounds += 1
    assert 3 <= rounds <= 5
    assert len(given_ones) == 399


class Flaky(FsOps):
    """Fails a chosen number of syncs, and counts the files that were begun."""

    def __init__(self, failures: int) -> None:
        self.failures, self.created = failures, 0

    def create(self, path: Path) -> IO[bytes]:
        self.created += 1
        return super().create(path)

    def sync_file(self, file: IO[bytes]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EIO, "as told")
        super().sync_file(file)


def test_a_sync_that_fails_is_tried_once_more_with_another_file(tmp_path: Path) -> None:
    fs, given_ones = Flaky(1), buffers(LARGE, 5)
    written = PackWriter(fs).write(tmp_path / "temp", given_ones, Holds())
    assert fs.created == 2
    assert written.header is not None
    check(tmp_path, tmp_path / "temp", written.header, given_ones)
    with pytest.raises(OSError, match="as told"):
        PackWriter(Flaky(2)).write(tmp_path / "temp", given_ones, Holds())
    assert not (tmp_path / "temp").exists()


class Refusing(FsOps):
    """A file system that claims to write past the page cache and refuses when it comes to it."""

    def bypass_cache(self, file: IO[bytes], on: bool) -> bool:
        self.direct = on
        return on

    def write_at(self, file: IO[bytes], data: memoryview, offset: int) -> int:
        if self.direct:
            raise OSError(errno.EINVAL, "not like this")
        return super().write_at(file, data, offset)


def test_where_the_page_cache_cannot_be_passed_by_it_is_used(tmp_path: Path) -> None:
    given_ones = buffers(LARGE * 3, 5)
    written = PackWriter(Refusing()).write(tmp_path / "temp", given_ones, Holds())
    assert written.header is not None
    check(tmp_path, tmp_path / "temp", written.header, given_ones)


class Changing(FsOps):
    """Changes the state while it is being saved: at each of the first `times` files."""

    def __init__(self, data: memoryview, times: int) -> None:
        self.data, self.times = data, times

    def create(self, path: Path) -> IO[bytes]:
        if self.times:
            self.times -= 1
            self.data[-1] ^= 1
        return super().create(path)


@pytest.mark.parametrize("size", [100, LARGE * 2])
def test_a_state_that_changes_meanwhile_is_read_again_or_refused(tmp_path: Path, size: int) -> None:
    given_ones = buffers(size)
    written = PackWriter(Changing(given_ones[0].data, 1)).write(tmp_path / "temp", given_ones, Holds())
    assert written.header is not None
    check(tmp_path, tmp_path / "temp", written.header, given_ones)
    with pytest.raises(TornSnapshotError, match="'t0' changed while it was being saved"):
        PackWriter(Changing(given_ones[0].data, 9)).write(tmp_path / "temp", given_ones, Holds())
    assert not (tmp_path / "temp").exists()


class Nearly(FsOps):
    """A disk with little room."""

    def free_nbytes(self, path: Path) -> int | None:
        return 1_000_000

    def create(self, path: Path) -> IO[bytes]:
        raise AssertionError("nothing is begun where the room does not suffice")


def test_what_does_not_fit_is_refused_before_the_first_byte_and_what_is_stored_does_not_count(tmp_path: Path) -> None:
    given_ones = buffers(900_000, 900_000)
    with pytest.raises(StorageFullError, match="Nothing was written"):
        PackWriter(Nearly()).write(tmp_path / "temp", given_ones, Holds())
    known = PackWriter(FsOps()).write(tmp_path / "there", given_ones, Holds()).identities
    assert PackWriter(Nearly()).write(tmp_path / "temp", given_ones, Holds(*known.values())).header is None


def test_names_that_no_header_can_hold_get_another_there(tmp_path: Path, writer: PackWriter) -> None:
    names = ["", "a\nb", "x" * 5000, "\ud800", "__metadata__", "plain", "buffer-0"]
    given_ones = {
        number: Buffer(name, "uint8", (9,), memoryview(bytearray([number] * 9))) for number, name in enumerate(names)
    }
    written = writer.write(tmp_path / "temp", given_ones, Holds())
    assert written.header is not None
    assert {"plain", "buffer-0"} < {tensor.name for tensor in written.header.tensors}
    check(tmp_path, tmp_path / "temp", written.header, given_ones)
