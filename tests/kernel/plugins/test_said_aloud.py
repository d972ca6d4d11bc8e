"""What a training is told of a plugin's section that nobody can use, and where variables alone set it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from model_checkpoint.kernel import Kernel

MANIFEST = '[plugin.best-news]\nhooks = ["on_best_model_update"]\n'
NEWS = """
    from dataclasses import dataclass
    from model_checkpoint.hooks import hookimpl

    @dataclass(frozen=True)
    class Config:
        min_change: float = 0.0

    taken = []
    configure = lambda config: taken.append(config.min_change)

    @hookimpl
    def on_best_model_update(context): ...
"""


@pytest.fixture(autouse=True)
def news(install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    install("mce-best-news", {"best-news": "mce_best_news"}, manifest=MANIFEST, mce_best_news=NEWS)


def _a_best_one() -> list[float]:
    """Save a checkpoint that is the best, and return what the plugin was configured with."""
    with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
        kernel.save({"w": 1}, metrics={"val_loss": 1.0})
    return import_module("mce_best_news").taken


def test_variables_alone_reach_a_plugin_with_a_dash_in_its_name(monkeypatch, caplog) -> None:
    monkeypatch.setenv("MCE_PLUGINS__BEST_NEWS__MIN_CHANGE", "0.5")

    assert _a_best_one() == [0.5]
    assert "not installed" not in caplog.text


def test_a_plugin_that_fails_at_its_first_event_is_told_with_the_key_that_is_wrong(monkeypatch, caplog) -> None:
    monkeypatch.setenv("MCE_PLUGINS__BEST_NEWS__MIN_CHANGE", "much")
    with caplog.at_level(logging.WARNING, "model_checkpoint"):
        _a_best_one()

    assert "plugin best-news cannot be used" in caplog.text
    assert "plugins.best-news.min_change='much'" in caplog.text
