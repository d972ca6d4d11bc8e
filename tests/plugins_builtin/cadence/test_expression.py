"""The text form is read with its precedences, and what cannot be read is shown with a caret under it."""

from __future__ import annotations

import contextlib
import time

import pytest

from model_checkpoint.cadence import (
    AllOf,
    AnyOf,
    BeforeLimit,
    EverySeconds,
    EverySteps,
    ExpressionError,
    First,
    Improved,
    Last,
    Not,
    parse,
)
from model_checkpoint.cadence.expression import MAX_DEPTH
from model_checkpoint.contracts import SaveDecisionDescriptor
from model_checkpoint.errors import ConfigurationError


def test_an_expression_is_read() -> None:
    assert parse("every:500steps | every:10m | improved:val_loss | before-limit:5m") == (
        EverySteps(500) | EverySeconds(600) | Improved("val_loss") | BeforeLimit(300)
    )


def test_not_binds_tighter_than_and_which_binds_tighter_than_or() -> None:
    assert parse("first | ~last & every:5steps") == AnyOf((First(), AllOf((Not(Last()), EverySteps(5)))))
    assert parse("(first | ~last) & every:5steps") == AllOf((AnyOf((First(), Not(Last()))), EverySteps(5)))


@pytest.mark.parametrize("text", ["EVERY:500Steps", " every : 500steps ", "every:\n500 steps"])
def test_case_and_blanks_do_not_matter(text: str) -> None:
    assert parse(text) == EverySteps(500)


def test_a_metric_of_any_name_stands_in_quotes() -> None:
    assert parse('improved:"a, b | (c) ""d"" = ~",max,delta=0.5') == Improved('a, b | (c) "d" = ~', "max", 0.5)


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("", 0, "expected a rule such as .*; the text ends"),
        ("first | | last", 8, "expected a rule such as .*; found '| last'"),
        ("first last", 6, "expected | or & or the end; found 'last'"),
        ("(first", 6, r"expected | or & or \); the text ends"),
        ("first)", 5, r"found '\)'"),
        ("first |", 7, "the text ends"),
        ("evry:5steps", 0, "there is no rule 'evry'; did you mean every"),
        ("first | every:5 parsecs", 14, "the interval is a duration .* not '5 parsecs'"),
        ("first:", 6, "expected what the colon is for"),
        ("first | last:x", 13, "last takes nothing after a colon"),
        ('improved:"val', 9, 'this " is never closed'),
        ("improved:zeta", 9, "does not show in its name"),
        ("every", 0, "say every how many of what"),
        ("\x1b[2J", 0, r"found '\\x1b\[2J'"),
    ],
)
def test_a_fault_is_shown_where_it_is(text: str, position: int, problem: str) -> None:
    with pytest.raises(ExpressionError, match=problem) as caught:
        parse(text)

    assert caught.value.position == position
    assert str(caught.value).splitlines()[-1] == " " * (2 + position) + "^"
    assert "\x1b" not in str(caught.value)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not 500"):
        parse(500)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "~" * 1900 + "last",
        "(" * 900 + "last" + ")" * 900,
        "first | " * 240 + "last",
        'improved:"' + 'a"' * 900,
        "every:" + " " * 1900 + "x",
        "every:" + "a " * 900,
        "x" * 100_000,
        "every:" + "9" * 1900 + "steps",
        "every:" + "1h" * 900,
        "improved:" + "," * 1900,
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_text_is_read_or_refused_at_once(text: str) -> None:
    begin = time.perf_counter()
    with contextlib.suppress(ConfigurationError):
        parse(text)
    assert time.perf_counter() - begin < 2


def test_nesting_has_an_end() -> None:
    assert str(parse("~" * MAX_DEPTH + "last")) == "~" * MAX_DEPTH + "last"
    with pytest.raises(ExpressionError, match="nested more than"):
        parse("~" * (MAX_DEPTH + 1) + "last")


class Kinds:
    """The kinds of a kernel, with one of a plugin."""

    def get(self, name: str) -> SaveDecisionDescriptor | None:
        return SaveDecisionDescriptor("mine", EverySteps.__call__, "") if name == "mine" else None

    def names(self) -> list[str]:
        return ["mine"]


def test_the_kinds_of_a_kernel_are_those_that_are_known() -> None:
    with pytest.raises(ExpressionError, match=r"there is no rule 'last'\. Rules: mine"):
        parse("last", Kinds())
