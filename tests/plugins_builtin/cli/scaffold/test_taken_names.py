"""A new plugin's name that somebody has: refused where it ships with the engine, else said."""

from __future__ import annotations

import pytest

from model_checkpoint.cli.scaffold.taken import taken
from model_checkpoint.cli.scaffold.writing import rendered
from model_checkpoint.errors import InvalidNameError
from model_checkpoint.testing.faulty_fs import snapshot


@pytest.mark.parametrize(
    ("name", "kind", "provided"), [("ls", "command", "command:ls"), ("huggingface", "codec", "codec:huggingface")]
)
def test_what_ships_with_the_engine_is_refused_and_nothing_is_written(
    name: str, kind: str, provided: str, call, tmp_path
) -> None:
    done = call(name, "--kind", kind, "--into", tmp_path)

    assert isinstance(done.exception, InvalidNameError)
    assert f"{provided} ships with the engine" in str(done.exception)
    assert snapshot(tmp_path) == {}
    assert call(name, "--kind", "hook", "--into", tmp_path).exit_code == 0


def test_a_name_that_nobody_has_is_no_matter() -> None:
    assert taken("my-thing", rendered("my-thing", "storage")) == ""


def test_an_installed_plugin_of_the_same_name_is_said(run_mce, install, tmp_path) -> None:
    env = {"PYTHONPATH": str(install("gzip", "", 'provides = ["storage:gzip"]\n'))}
    same = run_mce("plugins", "new", "gzip", "--kind", "storage", env=env)
    like = run_mce("plugins", "new", "gzip", "--kind", "hook", "--force", env=env)

    assert (same.returncode, like.returncode) == (0, 0)
    assert "the installed plugin 'gzip' provides storage:gzip too" in same.stderr
    assert "an installed plugin is called 'gzip' too" in like.stderr


def test_settings_that_cannot_be_read_do_not_matter(call, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mce.toml").write_text("storage = 3\n")

    assert call("x", "--kind", "hook").exit_code == 0


def test_the_last_words_lead_to_the_check(call, tmp_path) -> None:
    assert "mce plugins check ." in call("x", "--kind", "hook", "--into", tmp_path).output
