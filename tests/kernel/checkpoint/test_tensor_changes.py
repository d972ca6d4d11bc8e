"""How far tensors moved between two checkpoints: read when it is asked for, in types that numpy has, and bfloat16."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from model_checkpoint.checkpoint import inspect
from model_checkpoint.checkpoint.inspect import TensorChange
from model_checkpoint.contracts import Buffer
from model_checkpoint.kernel import Kernel


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
        yield kernel


def moved(kernel: Kernel, one: object, other: object) -> TensorChange:
    first, second = (kernel.save({"w": each}) for each in (one, other))
    (change,) = kernel.diff(first, second).read_changes().values()
    return change


def test_the_largest_difference_and_the_norm_of_all_are_told(kernel: Kernel) -> None:
    change = moved(kernel, np.array([[1, 2]], np.float32), np.array([[4, -2]], np.float32))

    assert change == TensorChange("float32 (1, 2)", "float32 (1, 2)", 4.0, 5.0)


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", "float16", "complex64"])
def test_elements_of_any_type_are_compared_as_numbers(kind: str, kernel: Kernel) -> None:
    assert moved(kernel, np.array([0, 1], kind), np.array([1, 1], kind)).max_abs == 1.0


def test_types_may_differ_where_shapes_do_not(kernel: Kernel) -> None:
    assert moved(kernel, np.array([1], np.int8), np.array([1.5])) == TensorChange("int8 (1,)", "float64 (1,)", 0.5, 0.5)


def test_where_shapes_differ_there_is_no_difference_to_measure(kernel: Kernel) -> None:
    assert moved(kernel, np.zeros(2), np.ones(3)) == TensorChange("float64 (2,)", "float64 (3,)", None, None)


def test_a_number_that_is_none_is_told_as_such(kernel: Kernel) -> None:
    assert math.isnan(moved(kernel, np.array([1.0, 2.0]), np.array([math.nan, 7.0])).max_abs or 0)
    assert moved(kernel, np.array([1.0]), np.array([math.inf])).norm == math.inf


def test_bfloat16_is_compared_and_a_type_without_a_word_in_numpy_is_not() -> None:
    def buffer(kind: str, *bits: int) -> Buffer:
        return Buffer("w", kind, (len(bits),), memoryview(np.array(bits, "<u2").tobytes()))

    one, minus_two = 0x3F80, 0xC000
    assert inspect._change(buffer("bfloat16", one), buffer("bfloat16", minus_two)).max_abs == 3.0
    assert inspect._change(buffer("float8_odd", 1), buffer("float8_odd", 2)).max_abs is None


def test_a_large_tensor_is_compared_piece_by_piece(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "_PIECE", 3)
    change = moved(kernel, np.zeros(7), np.arange(7.0))

    assert (change.max_abs, change.norm) == (6.0, math.sqrt(91))


def test_what_is_the_same_is_not_read(kernel: Kernel) -> None:
    saved = kernel.save({"w": np.zeros(2)})

    assert kernel.diff(saved, saved).read_changes() == {}
