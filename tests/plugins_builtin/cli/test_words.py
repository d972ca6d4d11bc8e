"""What the engine says of ``mce``: every command that a message or a help names is there, and no help is cut."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from model_checkpoint.cli.main import command_line

ROOT = Path(__file__).resolve().parents[3]
PHRASE = re.compile(r"\bmce((?: +[a-z][a-z-]*)+)")
PROSE = {"were", "stand"}
"""Words after ``mce`` that are none of its: 'as if mce were called'."""


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield every string but docstrings; what an f-string fills in is one word that is no command."""
    for node in ast.walk(tree):
        for below in ast.iter_child_nodes(node):
            if isinstance(below, ast.JoinedStr):
                parts = (each.value if isinstance(each, ast.Constant) else "{}" for each in below.values)
                yield "".join(map(str, parts))
            elif (
                isinstance(below, ast.Constant) and isinstance(below.value, str) and not isinstance(node, ast.JoinedStr)
            ):
                yield below.value


def phrases() -> set[tuple[str, ...]]:
    """Return the words after each ``mce`` in the package."""
    files = [path for part in ("kernel", "plugins_builtin") for path in sorted((ROOT / part).rglob("*.py"))]
    texts = [text for path in files for text in literals(ast.parse(path.read_text("utf-8")))]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "plugins_builtin").rglob("*.txt"))]
    return {tuple(match[1].split()) for text in texts for match in PHRASE.finditer(text)}


def missing(words: tuple[str, ...]) -> str:
    """Return the word that is no command where a command has to stand, or empty."""
    here: click.Command | None = command_line()
    for word in words:
        if not isinstance(here, click.Group):
            return ""
        here = here.get_command(click.Context(here), word)
        if here is None:
            return word
    return ""


def test_every_command_that_is_named_exists() -> None:
    named = phrases()

    assert ("store", "rebuild") in named
    assert ("plugins", "enable") in named
    assert {" ".join(words): word for words in named if (word := missing(words)) and word not in PROSE} == {}


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert missing(("store", "repair")) == "repair"
    assert missing(("ls", "anything")) == ""


@pytest.mark.parametrize("group", [(), ("plugins",), ("config",), ("store",), ("hooks",)])
@pytest.mark.parametrize("width", ["80", "40"])
def test_what_is_said_of_each_command_is_not_cut(group: tuple[str, ...], width: str, run_mce) -> None:
    listed = (
        run_mce(*group, "--help", env={"COLUMNS": width}).stdout.partition("Commands:")[2].partition("Examples:")[0]
    )

    assert listed
    assert "..." not in listed
