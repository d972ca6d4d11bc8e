"""SHA-256 as the standard says, in one piece and on the way to a file."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.common.digest import HashingWriter, sha256_hex

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc")], ids=["bytes", "bytearray", "view"])
def test_the_digest_is_that_of_the_standard(data: bytes) -> None:
    assert sha256_hex(data) == ABC


@given(st.lists(st.binary(max_size=50)))
def test_what_passes_through_is_hashed_counted_and_written_unchanged(pieces: list[bytes]) -> None:
    sink = io.BytesIO()
    writer = HashingWriter(sink)

    assert [writer.write(piece) for piece in pieces] == [len(piece) for piece in pieces]

    whole = b"".join(pieces)
    assert (sink.getvalue(), writer.nbytes) == (whole, len(whole))
    assert writer.hexdigest == hashlib.sha256(whole).hexdigest()


def test_an_array_is_hashed_by_its_bytes() -> None:
    sink = io.BytesIO()
    writer = HashingWriter(sink)
    array = np.arange(6, dtype="<i4").reshape(2, 3)

    assert writer.write(memoryview(array)) == 24
    assert writer.hexdigest == sha256_hex(array.tobytes())
    assert sink.getvalue() == array.tobytes()


def test_the_digest_may_be_asked_for_in_between() -> None:
    writer = HashingWriter(io.BytesIO())
    writer.write(b"ab")
    writer.flush()
    assert writer.hexdigest == sha256_hex(b"ab")
    writer.write(b"c")
    assert writer.hexdigest == ABC


def test_a_sink_that_fails_is_heard() -> None:
    class Full:
        def write(self, data: memoryview) -> object:
            raise OSError(28, "No space left on device")

    writer = HashingWriter(Full())
    with pytest.raises(OSError, match="No space left"):
        writer.write(b"abc")
