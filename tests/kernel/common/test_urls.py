"""No secret of a URL is shown."""

from __future__ import annotations

import pytest

from model_checkpoint.common.urls import masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:s3cret@db/x", "postgresql://ada:***@db/x"),
        ("postgresql+psycopg://ada:p@ss:w/rd@db:5432/x", "postgresql+psycopg://ada:***@db:5432/x"),
        ("postgresql://:s3cret@db/x", "postgresql://:***@db/x"),
        ("postgresql://db/x?user=ada&password=s3cret&timeout=5", "postgresql://db/x?user=ada&password=***&timeout=5"),
        ("https://records.example/x?API_KEY=s3cret", "https://records.example/x?API_KEY=***"),
    ],
)
def test_passwords_and_secret_parameters_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///experiments.db",
        "sqlite:////data/a:b@c/x.db?timeout=5",
        "sqlite:///:memory:",
        "postgresql://ada@db/x",
        "",
    ],
)
def test_a_url_without_a_secret_is_shown_as_it_is(url: str) -> None:
    assert masked(url) == url
