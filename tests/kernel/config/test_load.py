"""Which setting holds: a default, an environment variable, or an argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.config import ConfigSources, KernelConfig, load
from model_checkpoint.errors import ConfigurationError

KEYS = {
    "database_url": "database.url",
    "checkpoint_dir": "storage.checkpoint_dir",
    "storage_backend": "storage.backend",
    "strict": "hooks.strict",
}


def load_config(*, environ: dict[str, str], **arguments: object) -> KernelConfig:
    given = {KEYS.get(name, name): value for name, value in arguments.items()}
    return load(ConfigSources(environ=environ, arguments=given)).config


def test_without_anything_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(environ={})
    assert config.database.url == "sqlite:///experiments.db"
    assert config.storage.checkpoint_dir == tmp_path / "checkpoints"
    assert config.storage.backend == "vault"
    assert (config.hooks.strict, config.quiet) == (False, False)


def test_an_environment_variable_beats_the_default_and_an_argument_beats_both(tmp_path: Path) -> None:
    environ = {
        "MCE_DATABASE_URL": "sqlite:///env.db",
        "MCE_CHECKPOINT_DIR": str(tmp_path / "env"),
        "MCE_STORAGE_BACKEND": "pytorch",
        "MCE_HOOKS_STRICT": "1",
        "MCE_QUIET": "yes",
    }
    config = load_config(environ=environ)
    assert (config.database.url, config.storage.checkpoint_dir) == ("sqlite:///env.db", tmp_path / "env")
    assert (config.storage.backend, config.hooks.strict, config.quiet) == ("pytorch", True, True)
    config = load_config(
        database_url="sqlite:///arg.db", checkpoint_dir=tmp_path / "arg", storage_backend="memory", strict=False,
        quiet=False, environ=environ,
    )  # fmt: skip
    assert (config.database.url, config.storage.checkpoint_dir) == ("sqlite:///arg.db", tmp_path / "arg")
    assert (config.storage.backend, config.hooks.strict, config.quiet) == ("memory", False, False)


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("DATABASE_URL", "CHECKPOINT_DIR", "STORAGE_BACKEND", "HOOKS_STRICT", "QUIET")
    assert load_config(environ={f"MCE_{name}": "" for name in names}) == load_config(environ={})


@pytest.mark.parametrize(("word", "flag"), [("1", True), ("TRUE", True), (" on ", True), ("0", False), ("No", False)])
def test_a_flag_is_read_from_the_usual_words(word: str, flag: bool) -> None:
    assert load_config(environ={"MCE_QUIET": word}).quiet is flag


@pytest.mark.parametrize("variable", ["MCE_QUIET", "MCE_HOOKS_STRICT"])
def test_any_other_word_is_refused_with_the_name_of_its_variable(variable: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}='maybe' is neither true nor false: use 1 or 0"):
        load_config(environ={variable: "maybe"})


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("sqlite:///runs/e.db", "runs/checkpoints"),
        ("sqlite:////data/e.db?timeout=5", "/data/checkpoints"),
        ("sqlite+pysqlite:////data/e.db", "/data/checkpoints"),
        ("sqlite:///e.db", "checkpoints"),
        ("sqlite:///:memory:", "checkpoints"),
        ("sqlite://", "checkpoints"),
        ("sqlite:///file:/data/e.db?mode=ro&uri=true", "checkpoints"),
        ("postgresql://db/x/y", "checkpoints"),
    ],
)
def test_checkpoints_go_beside_the_sqlite_file_or_into_the_working_directory(
    url: str, directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(database_url=url, environ={}).storage.checkpoint_dir == tmp_path / directory


def test_the_directory_is_settled_once_whatever_the_working_directory_is_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(checkpoint_dir="here", environ={})
    monkeypatch.chdir("/")
    assert config.storage.checkpoint_dir == tmp_path / "here"


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config(checkpoint_dir="~/c", environ={}).storage.checkpoint_dir == tmp_path / "c"
    assert load_config(database_url="sqlite:///~/e.db", environ={}).storage.checkpoint_dir == tmp_path / "checkpoints"


def test_a_path_is_no_url_and_the_message_says_how_to_write_it() -> None:
    with pytest.raises(ConfigurationError, match=r"database_url=.* is a path: write it as text, sqlite:///runs/e\.db"):
        load_config(database_url=Path("runs/e.db"), environ={})


@pytest.mark.parametrize("argument", ["storage_backend", "quiet"])
def test_a_path_is_refused_where_something_else_is_wanted(argument: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{argument}=.* does not fit"):
        load_config(environ={}, **{argument: Path("x")})


def test_a_snapshot_shows_no_password() -> None:
    config = load_config(database_url="postgresql://ada:s3cret@db/x", environ={})
    assert "s3cret" not in repr(config)
    assert "ada:***@db" in repr(config)
    assert config.database.url == "postgresql://ada:s3cret@db/x"


def test_a_snapshot_cannot_be_changed() -> None:
    config: Any = load_config(environ={})
    with pytest.raises(AttributeError):
        config.quiet = True
