"""Completion offers what is there, after ``-C`` too, and says and creates nothing where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_checkpoint.kernel import Kernel


@pytest.fixture
def offered(run_mce):
    """Return what a shell is offered for a line; the last word of it is what is being typed."""

    def offer(line: str, env: dict[str, str] | None = None) -> set[str]:
        asked = {"_MCE_COMPLETE": "zsh_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        result = run_mce(env={**asked, **(env or {})})
        assert result.stderr == ""
        return {word.replace("\\:", ":") for word in result.stdout.split("\n")[1::3] if word}  # kind, word, help

    return offer


@pytest.mark.parametrize("line", ["mce show ", "mce verify ", "mce export ", "mce diff latest "])
def test_checkpoints_are_offered_by_every_word_that_names_one(line: str, offered, ids) -> None:
    with Kernel.open("sqlite:///experiments.db", quiet=True) as kernel:
        kernel.alias("production", ids[0])

    assert offered(line) >= {*ids, "latest", "best:val_loss", "tag:kept", "production"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mce show best:", {"best:val_loss"}),
        ("mce show letters", {"letters-1-s000000"}),
        ("mce best --metric ", {"val_loss"}),
        ("mce best --run ", {"digits-1", "letters-1"}),
        ("mce import --run di", {"digits-1"}),
        ("mce export latest x --format h", {"huggingface"}),
        ("mce import --format ", {"safetensors", "torch", "huggingface"}),
        ("mce plugins info va", {"vault"}),
        ("mce plugins enable va", {"vault"}),
        ("mce plugins disable va", {"vault"}),
        ("mce plugins check va", {"vault"}),
        ("mce config show storage.v", {"storage.verify"}),
        ("mce hooks list --event after_checkpoint_s", {"after_checkpoint_save"}),
    ],
)
def test_what_is_there_is_offered_by_how_it_begins(line: str, words: set[str], offered, store) -> None:
    assert {word[:17] if "letters-1-s" in word else word for word in offered(line)} == words


def test_after_minus_c_and_database_what_is_there_is_offered(offered, ids, store, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert set(ids) <= offered(f"mce show -C {store} ")
    assert set(ids) <= offered(f"mce show --database sqlite:///{store}/experiments.db ")


@pytest.mark.parametrize("line", ["mce show ", "mce best --run ", "mce best --metric v"])
def test_where_nothing_is_nothing_is_offered_and_created(line: str, offered) -> None:
    assert offered(line) == set()
    assert os.listdir() == []


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_database_stays_as_it_is(content: bytes, offered) -> None:
    Path("experiments.db").write_bytes(content)

    assert offered("mce show ") == set()
    assert os.listdir() == ["experiments.db"]
    assert Path("experiments.db").read_bytes() == content


def test_settings_that_cannot_be_read_and_plugins_that_fail_are_no_matter(offered, install) -> None:
    Path("mce.toml").write_text("storage = 3\n")
    assert offered("mce show ") == set()
    Path("mce.toml").unlink()
    loud = {"PYTHONPATH": str(install("loud", "print('loud')\nraise OSError", 'provides = ["command:shout"]\n'))}

    assert offered("mce shout ", loud) == set()
    assert "vault" in offered("mce plugins info ", loud)


def test_no_hook_is_called(offered, install, store) -> None:
    code = """
        from pathlib import Path
        from model_checkpoint.hooks import hookimpl

        @hookimpl
        def on_system_start(context):
            Path("started").touch()
        """
    env = {"PYTHONPATH": str(install("eager", code, 'hooks = ["on_system_start"]\n'))}
    assert "latest" in offered("mce show ", env)
    assert not Path("started").exists()


def test_for_bash_a_word_goes_on_after_a_colon(mce, ids) -> None:
    Path("complete.bash").write_text(mce("completion", "bash").stdout)
    Path("mce").write_text(f"#!/bin/sh\nexec {sys.executable} -m model_checkpoint.cli.main\n")
    Path("mce").chmod(0o755)
    ask = "COMP_WORDS=(mce show best:v); COMP_CWORD=2; _mce_completion mce; printf '%s\\n' \"${COMPREPLY[@]}\""
    script = f"source ./complete.bash; PATH=$PWD:$PATH; [[ $COMP_WORDBREAKS != *:* ]] || exit 1; {ask}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)

    assert done.stdout == "best:val_loss\n", done.stderr
