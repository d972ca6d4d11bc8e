"""Arrays, scalars and dtypes of numpy come back as what they were; what cannot is refused with reason and remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from model_checkpoint.checkpoint.tree import flatten
from model_checkpoint.errors import StateDecodeError, UnstorableStateError
from model_checkpoint.frameworks.numpy_dtypes import dtype_from_json, dtype_to_json
from model_checkpoint.kernel.adapters import AdapterSet

RoundTrip = Callable[[object], Any]

DTYPES = [
    "?", "i1", "u2", "<i4", ">i4", "i8", "u8", "f2", "<f4", ">f4", "f8", "g", "c8", ">c16", "G", "S5", "S1", "U3",
    ">U3", "V7", [(("a title", "a"), "f4"), ("b", "i2")],
    "M8[ns]", "M8[D]", "m8[us]", ">M8[s]", "M8[25s]", "M8", [("a", "i1"), ("b", ">f4", (2, 3)), ("c", [("d", "U2")])],
    {"names": ["x", "y"], "formats": ["f4", "i2"], "offsets": [8, 2], "itemsize": 16},
    np.dtype([("a", "i1"), ("b", "f8")], align=True), np.dtype((np.record, [("a", "f4")])), [],
    {"names": ["u", "v"], "formats": ["u4", "u2"], "offsets": [0, 0]}, [("a,b", "f4"), ("", "i4")],
]  # fmt: skip


def filled(dtype: Any, *shape: int) -> np.ndarray[Any, Any]:
    made: Any = np.empty(shape, dtype)
    if made.nbytes:
        memory = np.arange(made.nbytes, dtype=np.uint8) % 2
        made = np.ndarray(shape, made.dtype, memory)
    return made


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back_in_every_layout(dtype: Any, round_trip: RoundTrip) -> None:
    whole = filled(dtype, 2, 3, 4)
    arrays = {
        "whole": whole, "fortran": np.asfortranarray(filled(dtype, 2, 3)), "gaps": filled(dtype, 6, 4)[::2, 1:3],
        "backwards": filled(dtype, 3, 2)[::-1], "both": filled(dtype, 3, 2).T[::-1, ::-1], "scalar": filled(dtype),
        "empty": filled(dtype, 2, 0), "one": filled(dtype, 1, 1)[::-1],
    }  # fmt: skip
    for name, back in round_trip(arrays).items():
        array = arrays[name]
        assert (back.dtype, back.shape, type(back)) == (array.dtype, array.shape, np.ndarray)
        assert back.dtype.isalignedstruct == array.dtype.isalignedstruct
        assert repr(back.tolist()) == repr(array.tolist())
        assert back.flags.writeable
        if name not in ("gaps", "empty", "one"):
            assert back.strides == array.strides


some_dtypes = npst.scalar_dtypes() | npst.array_dtypes(npst.scalar_dtypes(), max_size=2)


@given(some_dtypes, st.lists(st.integers(0, 3), max_size=3))
def test_any_array_comes_back_bit_for_bit(round_trip: RoundTrip, dtype: np.dtype[Any], shape: list[int]) -> None:
    array = filled(dtype, *shape)
    back = round_trip({"a": array})["a"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@given(some_dtypes)
def test_any_dtype_comes_back(dtype: np.dtype[Any]) -> None:
    assert dtype_from_json(dtype_to_json(dtype)) == dtype


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.sampled_from(["<f4", "O", "S3", "U", "M8[ns]", "V0", "f4,O"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("names", "formats", "offsets", "itemsize", "base", "shape"), inner)
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_json_is_a_dtype_without_objects_or_a_typed_error(node: Any) -> None:
    try:
        dtype = dtype_from_json(node)
    except StateDecodeError:
        return
    assert not dtype.hasobject


def test_scalars_come_back_as_the_scalars_they_were(round_trip: RoundTrip) -> None:
    values: list[Any] = [
        np.float32(0.1), np.float16(np.inf), np.float64(-0.0), np.longdouble(1) / 3, np.int8(-3), np.uint64(2**64 - 1),
        np.bool_(True), np.complex64(1 - 2j), np.datetime64("2026-01-01T01", "h"), np.timedelta64(5, "D"),
        np.datetime64("NaT"), np.float64("nan"), np.array((1, 2.5), [("a", "i4"), ("b", "f8")])[()], np.void(b"abc"),
    ]  # fmt: skip
    for back, value in zip(round_trip(values), values, strict=True):
        assert type(back) is type(value)
        assert back.dtype == value.dtype
        assert back.tobytes() == value.tobytes()
        assert str(back) == str(value)
    texts = [np.str_("aé\0"), np.bytes_(b"a\0"), np.str_("")]
    assert [(type(back), back) for back in round_trip(texts)] == [(type(text), text) for text in texts]


def test_dtype_objects_come_back(round_trip: RoundTrip) -> None:
    values = [np.dtype(dtype) for dtype in DTYPES]
    assert round_trip(values) == values


def test_arrays_of_other_classes_come_back_as_their_class(round_trip: RoundTrip, tmp_path: Path) -> None:
    records: Any = np.rec.array([(1, 2.0), (3, 4.0)], dtype=[("x", "i4"), ("y", "f8")])
    mapped = np.memmap(tmp_path / "m", np.float32, "w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    back = round_trip({"matrix": np.matrix([[1, 2], [3, 4]]), "records": records, "mapped": mapped})
    assert type(back["matrix"]) is np.matrix
    assert (back["matrix"] * back["matrix"]).tolist() == [[7, 10], [15, 22]]
    assert type(back["records"]) is np.recarray
    assert back["records"].y.tolist() == [2.0, 4.0]
    assert type(back["mapped"]) is np.ndarray
    assert back["mapped"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("make", [
    lambda: np.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=-1), lambda: np.ma.array([1.5, 2.5]),
    lambda: np.ma.array([[1, 2]], mask=True, hard_mask=True), lambda: np.ma.masked_invalid([1.0, np.nan]),
    lambda: np.ma.array([(1, 2)], mask=[(0, 1)], dtype=[("a", "i4"), ("b", "i4")]),
])  # fmt: skip
def test_masked_arrays_come_back_with_mask_and_fill_value(make: Callable[[], Any], round_trip: RoundTrip) -> None:
    array = make()
    before = array._fill_value
    back = round_trip(array)
    assert array._fill_value is before, "storing it has set its fill value"
    assert type(back) is np.ma.MaskedArray
    assert np.asarray(back.data).tobytes() == np.asarray(array.data).tobytes()
    assert np.array_equal(np.ma.getmaskarray(back), np.ma.getmaskarray(array))
    assert str(back.fill_value) == str(array.fill_value)
    assert back.hardmask == array.hardmask


class Special(np.ndarray):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(("value", "remedy"), [
    (np.array([object()]), "tolist"), (np.array([(1, None)], [("a", "i4"), ("b", "O")]), "tolist"),
    (np.zeros(2).view(Special), "np.asarray"), (np.ma.masked, "np.asarray"),
    (np.array(["a"], np.dtypes.StringDType()), "astype"),
    (np.dtype("O"), "tolist"), (np.sin, "leave it out"), (np.zeros((), "O"), "tolist"),
])  # fmt: skip
def test_what_cannot_be_rebuilt_is_refused_with_what_to_do(value: object, remedy: str, adapters: AdapterSet) -> None:
    with pytest.raises(UnstorableStateError, match=remedy) as refused:
        flatten({"a": [value]}, adapters, path="")
    assert [path for path, _ in refused.value.problems] == ["a[0]"]


def test_fields_of_a_packed_structure_share_it_with_the_whole(round_trip: RoundTrip) -> None:
    table = np.zeros(3, [("tag", "u1"), ("value", "<f4")])
    whole, values, tags = round_trip([table, table["value"], table["tag"]])
    whole["value"] = 5
    assert values.tolist() == [5.0, 5.0, 5.0]
    tags[:] = 7
    assert whole["tag"].tolist() == [7, 7, 7]


def test_strided_tricks_and_foreign_memory_share_too(round_trip: RoundTrip) -> None:
    memory = bytearray(range(16))
    one, two = np.frombuffer(memory, np.uint8), np.frombuffer(memory, np.uint8, count=8)
    windows = np.lib.stride_tricks.sliding_window_view(one[4:], 4)
    back = round_trip([one, two, windows])
    back[0][4] = 99
    assert back[1][4] == 99
    assert back[2][0, 0] == 99
    assert np.array_equal(back[2], np.lib.stride_tricks.sliding_window_view(back[0][4:], 4))
