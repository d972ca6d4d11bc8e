"""The arithmetic of strides agrees with numpy's, and refuses numbers that fit no machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.common.strides import byte_extent, c_strides, check_within, is_c_contiguous, is_dense
from model_checkpoint.errors import StateDecodeError


@st.composite
def placed(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    return shape, draw(st.lists(st.integers(0, 20), min_size=len(shape), max_size=len(shape)))


def addresses(shape: list[int], strides: list[int]) -> list[int]:
    """Where each element lies, counted in elements, one by one."""
    found = [0]
    for size, stride in zip(shape, strides, strict=True):
        found = [at + index * stride for at in found for index in range(size)]
    return found


@given(placed(), st.integers(1, 16), st.integers(0, 100))
def test_an_extent_reaches_from_the_first_to_the_last_element(
    case: tuple[list[int], list[int]], itemsize: int, offset: int
) -> None:
    shape, strides = case
    elements = addresses(shape, strides)
    expected = (offset, offset + (max(elements) + 1) * itemsize) if elements else (offset, offset)
    assert byte_extent(shape, strides, itemsize, offset) == expected
    assert check_within(expected[1], itemsize=itemsize, shape=shape, strides=strides, offset=offset) == tuple(strides)
    with pytest.raises(StateDecodeError, match=f"ends at byte {expected[1]} of a buffer of {expected[1] - 1}|fits no"):
        check_within(expected[1] - 1, itemsize=itemsize, shape=shape, strides=strides, offset=offset)


@given(placed())
def test_contiguous_and_dense_are_what_the_elements_say(case: tuple[list[int], list[int]]) -> None:
    shape, strides = case
    elements = addresses(shape, strides)
    assert is_c_contiguous(shape, strides) == (elements == list(range(len(elements))))
    if elements:
        assert is_dense(shape, strides) == (sorted(elements) == list(range(len(elements))))


@given(st.lists(st.integers(0, 4), max_size=4))
def test_the_usual_strides_are_those_of_numpy(shape: list[int]) -> None:
    array: Any = np.empty(shape, np.uint8)
    assert is_c_contiguous(shape, c_strides(shape))
    assert array.size == 0 or c_strides(shape) == array.strides
    assert check_within(array.size, itemsize=1, shape=shape, strides=None, offset=0) == c_strides(shape)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ([-1], None, 0),
        ([2], [-1], 0),
        ([2], [1], -1),
        ([2**63], None, 0),
        ([2**40, 2**40], [0, 0], 0),
        ([0, 2**63], None, 0),
    ],
)
def test_numbers_that_fit_no_machine_are_refused(shape: list[int], strides: list[int] | None, offset: int) -> None:
    with pytest.raises(StateDecodeError, match="fits no machine"):
        check_within(2**64, itemsize=4, shape=shape, strides=strides, offset=offset)


def test_a_stride_too_few_is_refused() -> None:
    with pytest.raises(StateDecodeError, match="needs 2 strides, found 1"):
        check_within(9, itemsize=1, shape=(3, 3), strides=(1,), offset=0)
