"""Whatever a value is, it comes back out of the columns that hold it."""

from __future__ import annotations

import math
import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model_checkpoint.database.values import (
    comparable,
    decode_json,
    decode_number,
    decode_text,
    encode_json,
    encode_number,
    encode_text,
    flat_params,
)
from model_checkpoint.errors import MetricError, UnstorableStateError

texts = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from("\x00\x1a\\\"'0d8"))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
trees = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8)


def through_sqlite(*columns: object) -> tuple[object, ...]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a DOUBLE, b TEXT)")
    connection.execute("INSERT INTO t VALUES (?, ?)", columns)
    row = connection.execute("SELECT a, b FROM t").fetchone()
    connection.close()
    return row


@given(st.floats() | st.integers() | st.integers(-(10**500), 10**500))
@example(-0.0)
@example(2**53 + 1)
@example(-(2**63) - 1)
def test_a_number_comes_back_equal_and_with_its_sign(number: float) -> None:
    value, exact = through_sqlite(*encode_number(number, "loss"))
    found = decode_number(value, exact)
    if number != number:
        assert math.isnan(found)
    else:
        assert found == number
        assert math.copysign(1, comparable(found)) == math.copysign(1, comparable(number))


@given(st.integers(), st.integers() | st.floats(allow_nan=False))
def test_numbers_compare_as_what_stands_for_them(left: int, right: float) -> None:
    assert not (left < right and comparable(left) > comparable(right))


def test_what_is_no_number_is_refused_with_its_name() -> None:
    with pytest.raises(MetricError, match="'loss' is a str"):
        encode_number("0.1", "loss")


@given(texts)
def test_a_text_comes_back_equal_and_a_database_takes_it(text: str) -> None:
    _, stored = through_sqlite(0.0, encode_text(text))
    assert isinstance(stored, str)
    assert decode_text(stored) == text
    assert "\0" not in stored


@given(texts, texts)
def test_two_texts_never_look_the_same(left: str, right: str) -> None:
    assert (left == right) == (encode_text(left) == encode_text(right))


def test_ordinary_text_is_stored_as_it_is() -> None:
    assert encode_text("Größe 温度 🦜 \n") == "Größe 温度 🦜 \n"


@given(st.dictionaries(texts, trees))
def test_json_comes_back_equal(value: dict[str, object]) -> None:
    _, stored = through_sqlite(0.0, encode_json(value))
    assert isinstance(stored, str)
    assert decode_json(stored) == value


def test_what_json_cannot_say_is_refused_with_its_path() -> None:
    with pytest.raises(UnstorableStateError, match="object"):
        encode_json({"a": {"b": object()}})


def test_a_config_becomes_dotted_names() -> None:
    config = {"lr": 1e-3, "amp": True, "optimizer": {"name": "adam", "eps": None}, "betas": [0.9], "seed": 2**80}
    assert flat_params(config) == {
        "lr": (1e-3, "0.001"),
        "amp": (None, "true"),
        "optimizer.name": (None, "adam"),
        "optimizer.eps": (None, None),
        "seed": (float(2**80), str(2**80)),
    }
