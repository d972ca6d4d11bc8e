"""Tags, metadata and config: what may stand in them, and what is refused by its name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from model_checkpoint.checkpoint.details import as_json, checked_tags
from model_checkpoint.errors import ConfigurationError, UnstorableStateError


def generated() -> Iterator[str]:
    yield "a"
    yield "b"


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        (None, {}),
        ((), {}),
        (["a", "b", "a"], {"a": "", "b": ""}),
        (("a",), {"a": ""}),
        ({"a": "1"}, {"a": "1"}),
        ({"größe 温度": "\0\ud800", "": ""}, {"größe 温度": "\0\ud800", "": ""}),
    ],
)
def test_tags_are_a_mapping_of_strings_or_labels(given: object, tags: dict[str, str]) -> None:
    assert checked_tags(given) == tags


def test_labels_may_come_from_a_generator() -> None:
    assert checked_tags(generated()) == {"a": "", "b": ""}


def test_tags_are_copied() -> None:
    given = {"a": "1"}
    checked_tags(given)["b"] = "2"
    assert given == {"a": "1"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("candidate", r"tags='candidate' is a str: give a list of labels, such as \['candidate'\]"),
        (7, "tags=7 is a int"),
        (b"x", "these are not: 120: ''"),
        ({"a": 1, 2: "b", "c": "d"}, "these are not: 'a': 1, 2: 'b'"),
        ([["a"]], r"these are not: \['a'\]: ''"),
    ],
)
def test_every_tag_that_is_no_string_is_named(given: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        checked_tags(given)


def test_what_json_has_stays_what_it_is() -> None:
    values: dict[str, Any] = {"lr": 0.1, "n": 3, "on": True, "none": None, "list": [1, {"a": "b"}]}
    assert as_json(values, "config") == values


def test_other_plain_types_are_written_in_the_vocabulary_of_states() -> None:
    assert as_json({"betas": (0.9, 0.99)}, "config") == {"betas": {"$": "tuple", "v": [0.9, 0.99]}}


def test_every_number_that_json_lacks_is_named_with_its_place() -> None:
    values = {"a": math.nan, "b": {"c": [1.0, math.inf]}, "d": (-math.inf,), "e": 1e308}
    with pytest.raises(ConfigurationError) as refused:
        as_json(values, "config")
    text = str(refused.value)
    assert text.startswith("config is kept as JSON, which has no such numbers; write them as text, or leave them out:")
    assert "config.a: nan" in text
    assert "config.b.c[1]: inf" in text
    assert "-inf" in text
    assert "config.e" not in text


def test_a_mapping_that_looks_like_a_node_is_none() -> None:
    values: dict[str, Any] = {"odd": {"$": "float", "v": "nan"}}
    assert as_json(values, "config")


def test_what_cannot_be_kept_is_named_with_its_place() -> None:
    with pytest.raises(UnstorableStateError, match=r"config\.model\.fn"):
        as_json({"model": {"fn": print}}, "config")
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(UnstorableStateError, match="contains itself"):
        as_json(loop, "config")


@pytest.mark.parametrize("values", [["a"], "a", 3, None])
def test_only_a_mapping_will_do(values: object) -> None:
    with pytest.raises(ConfigurationError, match=r"metadata is a \w+: give a mapping"):
        as_json(values, "metadata")
