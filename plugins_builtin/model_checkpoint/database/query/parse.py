"""Reads a query into the values of `tree`, in linear time."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken
from lark.exceptions import UnexpectedCharacters

from model_checkpoint.database.query.faults import fault
from model_checkpoint.database.query.tree import (
    Comparison,
    Condition,
    Field,
    Junction,
    Kind,
    Match,
    Membership,
    Not,
    Nullness,
    Query,
    Sorting,
    Value,
)
from model_checkpoint.database.values import LARGEST
from model_checkpoint.errors import QuerySyntaxError

MAX_LENGTH = 10_000
MAX_DEPTH = 20
"""Levels of ``not`` and of ``and``/``or`` within each other: SQLite's parser keeps a stack of 100 entries."""
MAX_CONDITIONS = 250
"""Comparisons in one query: a chain of ``or`` is as deep as it is long, and SQLite allows 1,000."""

_KINDS = {
    **dict.fromkeys(("metrics", "metric"), Kind.METRICS),
    **dict.fromkeys(("tags", "tag"), Kind.TAGS),
    **dict.fromkeys(("params", "param", "parameters", "parameter"), Kind.PARAMS),
    **dict.fromkeys(("attributes", "attribute", "attr"), Kind.ATTRIBUTES),
}
_WORDS = {
    "NAME": "a field such as metrics.val_loss or step",
    "INDEX": "a name",
    "BACKTICKED": "a name in `backticks`",
    "DOUBLE_QUOTED": 'a "quoted" name or text',
    "SINGLE_QUOTED": "a text in 'quotes'",
    "NUMBER": "a number",
    "DOT": "a dot",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": "a comma",
    "$END": "the end",
}
_OPERATORS = {"EQUAL", "LESSTHAN", "MORETHAN"}


def parse(query: str) -> Query:
    """Return what `query` says. Raises ``QuerySyntaxError`` with the position and what was expected there."""
    if not isinstance(query, str):
        raise QuerySyntaxError(f'a query is a string such as "metrics.val_loss < 0.2", not {query!r}', 0)
    if len(query) > MAX_LENGTH:
        raise fault(query, MAX_LENGTH, f"it has {len(query)} characters, and at most {MAX_LENGTH} are read")
    try:
        read = _parser().parse(query)
    except _Refusal as refusal:
        raise fault(query, refusal.position, refusal.problem) from None
    except UnexpectedInput as error:
        position, problem = _explain(query, error)
        raise fault(query, position, problem) from None
    assert isinstance(read, Query)
    return read


@functools.cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("filter.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=_Builder())


def _explain(query: str, error: UnexpectedInput) -> tuple[int, str]:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        position, found = error.token.start_pos or 0, f"found {_short(str(error.token))}"
    elif isinstance(error, UnexpectedToken):
        position, found = len(query), "the query ends"
    else:
        position = error.pos_in_stream or 0
        character = query[position : position + 1]
        if character in "'\"`" and character:
            return position, f"this {character} is never closed (write it twice for one within a quoted text)"
        found = f"found {_short(character)}"
    names = error.accepts or error.expected if isinstance(error, UnexpectedToken) else ()
    if isinstance(error, UnexpectedCharacters):
        names = error.allowed or ()
    return position, f"expected {_alternatives(set(names))}, {found}"


def _alternatives(names: set[str]) -> str:
    """Return in words what the grammar could have gone on with."""
    words: list[str] = []
    if any(name in _OPERATORS or name.startswith("__") for name in names):
        words.append("a comparison (= != < <= > >=)")
    others = sorted(names - _OPERATORS, key=lambda name: (name not in _WORDS, name))
    words += [_WORDS.get(name, name.lower()) for name in others if not name.startswith("__")]
    return " or ".join(([", ".join(words[:-1])] if len(words) > 1 else []) + words[-1:]) or "nothing more"


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else text[:27] + "...")


class _Refusal(Exception):
    """Raised within the parser, where the query's text is not at hand."""

    def __init__(self, position: int, problem: str) -> None:
        self.position, self.problem = position, problem


@dataclass(frozen=True, slots=True)
class _Sized:
    """A condition on its way up, with what the limits are about."""

    condition: Condition
    depth: int = 0
    count: int = 1


class _Builder(Transformer[Token, Query]):
    """Builds the values while the parser reduces: bottom up, so that no depth of nesting can exhaust the stack."""

    def start(self, parts: list[object]) -> Query:
        condition, ordering = parts
        assert condition is None or isinstance(condition, _Sized)
        assert ordering is None or isinstance(ordering, tuple)
        return Query(condition.condition if condition else None, ordering or ())

    def disjunction(self, parts: list[object]) -> _Sized:
        return _join("or", parts)

    def conjunction(self, parts: list[object]) -> _Sized:
        return _join("and", parts)

    def negate(self, parts: list[object]) -> _Sized:
        word, operand = parts
        assert isinstance(word, Token)
        assert isinstance(operand, _Sized)
        return _checked(_Sized(Not(operand.condition), operand.depth + 1, operand.count), word)

    def inner(self, parts: list[_Sized]) -> _Sized:
        return parts[0]

    def comparison(self, parts: list[object]) -> _Sized:
        field, operator, value = parts
        assert isinstance(field, Field)
        assert isinstance(value, Value)
        return _Sized(Comparison(field, str(operator), value))

    def comparator(self, parts: list[Token]) -> str:
        return {"==": "=", "<>": "!="}.get(str(parts[0]), str(parts[0]))

    def membership(self, parts: list[object]) -> _Sized:
        field, negation, _, *values = parts
        assert isinstance(field, Field)
        wanted = tuple(value for value in values if isinstance(value, Value))
        return _Sized(Membership(field, wanted, negation is not None))

    def match(self, parts: list[object]) -> _Sized:
        field, negation, word, pattern = parts
        assert isinstance(field, Field)
        assert isinstance(word, Token)
        assert isinstance(pattern, Value)
        return _Sized(Match(field, str(pattern.literal), word.type == "ILIKE", negation is not None))

    def nullness(self, parts: list[object]) -> _Sized:
        field, _, negation, _ = parts
        assert isinstance(field, Field)
        return _Sized(Nullness(field, negation is not None))

    def field(self, parts: list[Token]) -> Field:
        first, *rest = parts
        position = first.start_pos or 0
        if not rest:
            return Field(Kind.ATTRIBUTES, str(first).lower(), position)
        kind = _KINDS.get(str(first).lower())
        if kind is None:
            raise _Refusal(position, f"{_short(str(first))} is none of metrics, tags, params and attributes")
        name = ".".join(map(str, rest))
        return Field(kind, name.lower() if kind is Kind.ATTRIBUTES else name, position)

    def part(self, parts: list[Token]) -> str:
        return _unquoted(parts[0]) if parts[0].type in ("BACKTICKED", "DOUBLE_QUOTED") else str(parts[0])

    def number(self, parts: list[Token]) -> Value:
        token = parts[0]
        try:
            return Value(int(token), token.start_pos or 0)
        except (
            ValueError
        ):  # a fraction, or an integer of more digits than Python reads: finite, and larger than any float
            number = float(token)
            whole = math.isinf(number) and token.lstrip("+-").isdigit()
            return Value(math.copysign(LARGEST, number) if whole else number, token.start_pos or 0)

    def text(self, parts: list[Token]) -> Value:
        return Value(_unquoted(parts[0]), parts[0].start_pos or 0)

    def truth(self, parts: list[Token]) -> Value:
        return Value(parts[0].type == "TRUE", parts[0].start_pos or 0)

    def ordering(self, parts: list[object]) -> tuple[Sorting, ...]:
        return tuple(part for part in parts if isinstance(part, Sorting))

    def sorting(self, parts: list[object]) -> Sorting:
        field, direction = parts
        assert isinstance(field, Field)
        return Sorting(field, isinstance(direction, Token) and direction.type == "DESC")


def _unquoted(token: Token) -> str:
    quote = token[0]
    return token[1:-1].replace(quote * 2, quote)


def _join(operator: str, parts: list[object]) -> _Sized:
    operands = [part for part in parts if isinstance(part, _Sized)]
    word = next(part for part in parts if isinstance(part, Token))
    joined = Junction(operator, tuple(part.condition for part in operands))
    depth, count = 1 + max(part.depth for part in operands), sum(part.count for part in operands)
    return _checked(_Sized(joined, depth, count), word)


def _checked(sized: _Sized, word: Token) -> _Sized:
    if sized.depth > MAX_DEPTH:
        raise _Refusal(word.start_pos or 0, f"conditions are nested more than {MAX_DEPTH} deep")
    if sized.count > MAX_CONDITIONS:
        raise _Refusal(word.start_pos or 0, f"more than {MAX_CONDITIONS} comparisons; use in (...) for many values")
    return sized
