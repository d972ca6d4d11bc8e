"""Secrets are read at use, masked everywhere else, and do not leave the process by accident."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

import pydantic
import pytest

from model_checkpoint.common.secrets import Secret
from model_checkpoint.errors import ConfigurationError, SecretNotFoundError


def test_a_secret_is_read_where_its_reference_says_each_time_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("from a file\n")
    secret = Secret("env:MY_TOKEN")
    for value in ("one", "two"):
        monkeypatch.setenv("MY_TOKEN", value)
        assert secret.reveal() == value
    assert Secret(f"file:{tmp_path}/token").reveal() == "from a file"
    assert Secret("plain").reveal() == "plain"
    assert Secret("plain:with colon").reveal() == "plain:with colon"


def test_it_is_never_shown() -> None:
    secret = Secret("hunter2")
    for text in (str(secret), repr(secret), f"{secret}", f"{secret!r}", "%s" % secret, repr([secret])):  # noqa: UP031
        assert "hunter2" not in text
        assert "***" in text
    assert repr(Secret("env:NAME")) == "Secret('env:NAME')"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("env:NOT_THERE", "the secret env:NOT_THERE cannot be read: NOT_THERE is not set"),
        ("env:EMPTY", "EMPTY is empty"),
        ("env:", "its name is not set"),
        ("file:/not/there", "/not/there is not to be read: No such file or directory"),
        ("file:/tmp", "/tmp is not to be read: Is a directory"),
        ("file:a\0b", "is not to be read: embedded null byte"),
    ],
)
def test_one_that_is_missing_is_a_typed_error_that_names_its_reference(
    reference: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(SecretNotFoundError, match=message) as caught:
        Secret(reference).reveal()
    assert isinstance(caught.value, ConfigurationError | LookupError)


def test_a_file_that_is_no_text_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    with pytest.raises(SecretNotFoundError, match="is not text in UTF-8") as caught:
        Secret(f"file:{tmp_path}/binary").reveal()
    assert "hunter2" not in str(caught.value)


def test_it_is_equal_to_the_same_reference_and_to_no_text() -> None:
    assert Secret("env:A") == Secret("env:A") == Secret(Secret("env:A"))
    assert len({Secret("env:A"), Secret("env:A"), Secret("env:B")}) == 2
    assert Secret("a") != "a"


def test_it_is_neither_pickled_nor_written_as_json() -> None:
    with pytest.raises(TypeError, match="is not pickled"):
        pickle.dumps(Secret("hunter2"))
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(Secret("hunter2"))
    assert copy.deepcopy(Secret("hunter2")) == Secret("hunter2")


def test_pydantic_makes_it_from_text_and_writes_it_masked() -> None:
    @dataclass(frozen=True)
    class Config:
        token: Secret

    adapter = pydantic.TypeAdapter(Config)
    config = adapter.validate_python({"token": "hunter2"})
    assert config == Config(Secret("hunter2"))
    assert b"hunter2" not in adapter.dump_json(config)
    assert asdict(config) == {"token": Secret("hunter2")}
    with pytest.raises(pydantic.ValidationError, match="Input should be text, or a reference"):
        adapter.validate_python({"token": 3})


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a secret is text or a reference such as 'env:NAME', not a int"):
        Secret(3)  # type: ignore[arg-type]
