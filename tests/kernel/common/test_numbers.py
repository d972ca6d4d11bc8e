"""What may be a metric, and which direction of it is better."""

from __future__ import annotations

import enum
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.common.numbers import as_metric_value, checked_step, metric_mode
from model_checkpoint.errors import MetricError


class Level(enum.IntEnum):
    HIGH = 3


@given(st.integers() | st.floats(allow_nan=False))
def test_a_python_number_is_taken_as_it_is(value: float) -> None:
    taken = as_metric_value("loss", value)

    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(
    "value", [math.nan, np.float32("nan"), torch.tensor(math.nan)], ids=["float", "numpy", "torch"]
)
def test_nan_is_a_number_here(value: object) -> None:
    assert math.isnan(as_metric_value("loss", value))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1),
        (Level.HIGH, 3),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(7), 7),
        (np.uint8(7), 7),
        (np.bool_(True), 1),
        (np.array(2.5), 2.5),
        (torch.tensor(2.5), 2.5),
        (torch.tensor(2.5, dtype=torch.bfloat16), 2.5),
        (torch.tensor(2.5, requires_grad=True) * 2, 5.0),
        (torch.tensor(7), 7),
        (torch.tensor(True), 1),
        (torch.tensor(-math.inf), -math.inf),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scalars_of_any_framework_become_plain_numbers(value: object, number: float) -> None:
    taken = as_metric_value("loss", value)

    assert taken == number
    assert type(taken) is type(number)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "0.5",
        b"1",
        1j,
        [0.5],
        {"loss": 0.5},
        Decimal("0.5"),
        Fraction(1, 2),
        object(),
        float,
        np.array([0.5]),
        np.array([1.0, 2.0]),
        np.complex64(1),
        np.str_("0.5"),
        np.datetime64("2026-01-01T00:00:00", "ns"),
        np.timedelta64(5, "ns"),
        torch.zeros(3),
        torch.zeros(1),
        torch.tensor(1j),
        torch.tensor(0.5, device="meta"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_by_the_name_of_the_metric(value: object) -> None:
    with pytest.raises(MetricError, match="'train_loss'"):
        as_metric_value("train_loss", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            None,
            "metric 'loss' is no number: None (NoneType). Leave it out, or give float('nan') where a value is missing",
        ),
        ("0.5", "metric 'loss' is no number: '0.5' (str). Give an int, a float, or a tensor or array of one number"),
        (1j, "metric 'loss' is no number: 1j (complex). Record abs(value)"),
        (torch.zeros(2, 3), "a torch.Tensor of shape (2, 3). Reduce it first, for instance with .mean()"),
        (torch.tensor(0.5, device="meta"), "metric 'loss' cannot be read from a torch.Tensor: "),
    ],
    ids=["none", "str", "complex", "shape", "meta"],
)
def test_the_refusal_says_what_was_given_and_what_to_do(value: object, message: str) -> None:
    with pytest.raises(MetricError) as refused:
        as_metric_value("loss", value)

    assert message in str(refused.value)


@pytest.mark.parametrize("name", ["", "x" * 501, None, 3, ("a",)], ids=["empty", "long", "none", "int", "tuple"])
def test_a_name_is_a_string_of_1_to_500_characters(name: object) -> None:
    with pytest.raises(MetricError, match=r"give a string of 1 to 500 characters, such as 'val_loss'"):
        as_metric_value(name, 1.0)


def test_a_name_of_500_characters_is_taken() -> None:
    assert as_metric_value("x" * 500, 1.0) == 1.0


def test_what_cannot_even_be_shown_is_refused_all_the_same() -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise ValueError("no")

    with pytest.raises(MetricError, match="Unprintable"):
        as_metric_value("loss", Unprintable())
    with pytest.raises(MetricError, match=r"step=<int>"):
        checked_step(-(10**5000))


@given(st.none() | st.integers(0, 2**63 - 1))
def test_a_step_is_none_or_counts_from_0(step: int | None) -> None:
    assert checked_step(step) == step


@pytest.mark.parametrize("step", [np.int64(7), np.uint8(7), torch.tensor(7), Level.HIGH], ids=repr)
def test_an_integer_of_a_framework_is_a_step(step: int) -> None:
    taken = checked_step(step)

    assert taken == int(step)
    assert type(taken) is int


@pytest.mark.parametrize(
    "step",
    [-1, 2**63, True, 1.0, "1", math.nan, np.float64(1), np.arange(2), np.bool_(True), torch.tensor(1.0)],
    ids=lambda value: type(value).__name__,
)
def test_any_other_step_is_refused_under_the_name_that_the_caller_knows(step: object) -> None:
    with pytest.raises(MetricError, match=r"^epoch=.*is neither None nor an int from 0 to 2\*\*63 - 1: "):
        checked_step(step, "epoch")


@pytest.mark.parametrize(
    "name",
    ["loss", "train_loss", "Loss/train", "loss.total", "valLoss", "val/PPL", "word-error-rate", "mae", "test.wer"],
)
def test_less_is_better_where_the_name_says_so(name: str) -> None:
    assert metric_mode(name) == "min"


@pytest.mark.parametrize(
    "name", ["acc", "val_accuracy", "F1", "macro-f1", "eval/bleu", "f1_score", "mean.reward", "R2", "test_map"]
)
def test_more_is_better_where_the_name_says_so(name: str) -> None:
    assert metric_mode(name) == "max"


@pytest.mark.parametrize(
    "name", ["", "zeta", "lr", "lossy", "accent", "mapping", "errors", "epoch", "top1acc", "f1 of class", "__"]
)
def test_a_name_that_does_not_tell_is_unclear(name: str) -> None:
    assert metric_mode(name) is None


@pytest.mark.parametrize("name", ["accuracy_loss", "error_score", "map/mse", "reward-loss"])
def test_a_name_that_says_both_is_unclear(name: str) -> None:
    assert metric_mode(name) is None


@pytest.mark.parametrize("name", ["neg_mean_squared_error", "neg_log_loss", "negative-precision"])
def test_a_name_that_turns_its_metric_round_is_unclear(name: str) -> None:
    assert metric_mode(name) is None
