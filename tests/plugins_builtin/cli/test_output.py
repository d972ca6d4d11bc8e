"""What is printed: nothing that a terminal would act on, JSON that every reader takes, tables that can be cut."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.cli.output import age, as_json, print_table, readable, size
from model_checkpoint.common.clock import now_s
from model_checkpoint.kernel import Kernel

EVIL = "a\x1b[2Jb\u202ec\x7fd\x9be\nf\u2028g\ud800"


@given(st.text())
def test_whatever_it_was_it_can_be_printed(text: str) -> None:
    assert readable(text).isprintable()


def test_a_readable_text_stays_as_it_is() -> None:
    assert readable("Größe 中文 😀") == "Größe 中文 😀"


def test_json_is_ascii_without_control_characters_and_reads_back() -> None:
    text = as_json({"evil": EVIL, "path": Path("/a")}, indent=None)

    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {"evil": EVIL, "path": "/a"}


def test_what_is_no_finite_number_is_a_word() -> None:
    assert json.loads(as_json([float("nan"), float("inf"), -float("inf")])) == ["NaN", "Infinity", "-Infinity"]


def test_names_of_runs_and_tags_reach_the_terminal_as_escapes(mce, mce_json) -> None:
    with Kernel.open("sqlite:///experiments.db", quiet=True) as kernel, kernel.run("x"):
        kernel.save({"w": 1}, step=1, tags={"t\x1b[31m": "v\x07\u202e"}, metrics={"m\x1b]0;owned\x07": 1.0})

    for command in (("ls",), ("show", "latest")):
        output = mce(*command).output
        assert "\\x1b" in output
        assert not {"\x1b", "\x07", "\u202e"} & set(output)
    assert mce_json("show", "latest")["tags"] == {"t\x1b[31m": "v\x07\u202e"}


def test_without_a_terminal_columns_are_aligned_and_nothing_is_cut() -> None:
    out = io.StringIO()
    print_table(("id", "n"), [("x" * 300, 1), ("y", 22)], right=("n",), file=out)

    assert out.getvalue().splitlines() == [f"{'id':<300}   n", f"{'x' * 300}   1", f"{'y':<300}  22"]


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_markup_in_a_name_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    print_table(("id",), [("[bold]x[/bold]",)], file=out)

    assert "[bold]x[/bold]" in out.getvalue()


def test_no_color_is_heeded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    print_table(("id",), [("x",)], file=out)

    assert "\x1b[3" not in out.getvalue()


@pytest.mark.parametrize(
    ("nbytes", "text"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")]
)
def test_sizes_are_in_the_largest_unit_that_fits(nbytes: float, text: str) -> None:
    assert size(nbytes) == text


def test_an_age_is_never_negative_when_the_clock_was_turned_back() -> None:
    assert age(now_s() + 1e6) == "0 s"
    assert age(now_s() - 3 * 86_400) == "3 d"


ROWS = [
    ("after_checkpoint_save", "performance", "PerformanceMonitor.after_checkpoint_save", "NORMAL", "waiting"),
    ("before_checkpoint_load", "audit", "", "LOW", "active"),
]


def on_terminal(width: int, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, ...]] = ROWS) -> list[str]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    out = Terminal()
    print_table(("hook", "plugin", "function", "priority", "state"), rows, file=out)
    return re.sub("\x1b\\[[0-9;]*m", "", out.getvalue()).splitlines()


@pytest.mark.parametrize("width", [200, 100, 80, 40])
def test_on_a_terminal_of_any_width_no_word_is_cut_and_no_line_too_long(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = on_terminal(width, monkeypatch)
    text = "\n".join(lines)

    assert max(map(len, lines)) <= max(width, 60)  # in a block, what is one word is not cut
    for word in ("after_checkpoint_save", "before_checkpoint_load", "performance", "waiting", "priority"):
        assert word in text


def test_where_columns_do_not_fit_each_row_is_a_block_without_what_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_terminal(40, monkeypatch, ROWS[1:]) == [
        "before_checkpoint_load",
        "  plugin    audit",
        "  priority  LOW",
        "  state     active",
    ]


def test_one_long_column_is_cut_into_lines_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = on_terminal(80, monkeypatch, [("run_end", "p", "one two three " * 8, "LOW", "active")])

    assert len([line for line in lines if "three" in line]) > 1
    assert len([line for line in lines if "run_end" in line]) == 1
