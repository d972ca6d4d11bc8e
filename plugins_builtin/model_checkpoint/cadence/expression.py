"""Reads ``every:500steps | improved:val_loss & ~last`` into rules, in linear time."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken

from model_checkpoint.cadence.composition import Not, Rule, all_of, any_of, as_rule
from model_checkpoint.cadence.kinds import KINDS
from model_checkpoint.contracts import SaveDecisionDescriptor
from model_checkpoint.errors import ConfigurationError

MAX_LENGTH = 2_000
MAX_DEPTH = 20
_SHOWN = 50
"""Characters of the text that are shown on either side of a fault."""


class ExpressionError(ConfigurationError):
    """A save decision that cannot be read. ``position`` is where, in characters."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.position = position
        before, after = _printable(text[max(0, position - _SHOWN) : position]), text[position : position + _SHOWN]
        super().__init__(
            f"cannot read the save decision at position {position}: {problem}"
            f"\n  {before}{_printable(after)}\n  {' ' * len(before)}^"
        )


class Kinds(Protocol):
    """Where kinds of rule are looked up."""

    def get(self, name: str) -> SaveDecisionDescriptor | None:
        """Return what makes rules of that name, or None."""

    def names(self) -> Iterable[str]:
        """Return all names."""


class BuiltIn:
    """The kinds that are there without a kernel."""

    def get(self, name: str) -> SaveDecisionDescriptor | None:
        """Return what makes rules of that name, or None."""
        return KINDS.get(name)

    def names(self) -> list[str]:
        """Return all names."""
        return [*KINDS]


def parse(text: str, kinds: Kinds | None = None) -> Rule:
    """Return the rule that `text` means; `kinds` are those of a kernel, else those that are built in.

    Raises ``ExpressionError`` with the position and what was expected there.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"a save decision is a text such as 'every:500steps | last', not {text!r}")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(text, MAX_LENGTH, f"it has {len(text)} characters, and at most {MAX_LENGTH} are read")
    try:
        tree = _parser().parse(text)
        read = _Builder(kinds or BuiltIn()).transform(tree)
    except _Refusal as refusal:
        raise ExpressionError(text, refusal.position, refusal.problem) from None
    except UnexpectedInput as error:
        raise ExpressionError(text, *_explained(text, error)) from None
    assert isinstance(read, Rule)
    return read


@functools.cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("expression.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=_Shapes(), maybe_placeholders=True)


class _Refusal(Exception):
    """Raised where the whole text is not at hand."""

    def __init__(self, position: int, problem: str) -> None:
        self.position, self.problem = position, problem


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of the text on its way to a rule. ``operator`` is one of ``| & ~``, or empty for a single rule."""

    operator: str
    parts: tuple[_Node | Token | None, ...]
    depth: int = 0


class _Shapes(Transformer[Token, _Node]):
    """Builds nodes while the parser reduces: bottom up, so that no depth of nesting can exhaust the stack."""

    def start(self, parts: list[_Node]) -> _Node:
        return parts[0]

    def any_of(self, parts: list[_Node]) -> _Node:
        return self._joined("|", parts)

    def all_of(self, parts: list[_Node]) -> _Node:
        return self._joined("&", parts)

    def negate(self, parts: list[_Node]) -> _Node:
        return self._joined("~", parts)

    def inner(self, parts: list[_Node]) -> _Node:
        return parts[0]

    def rule(self, parts: list[Token | None]) -> _Node:
        return _Node("", tuple(parts))

    def _joined(self, operator: str, parts: list[_Node]) -> _Node:
        return _Node(operator, tuple(parts), 1 + max(part.depth for part in parts))


class _Builder:
    """Makes rules of nodes, with the kinds of one kernel."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds

    def transform(self, node: object) -> Rule:
        assert isinstance(node, _Node)
        if node.depth > MAX_DEPTH:
            raise _Refusal(0, f"its rules are nested more than {MAX_DEPTH} deep")
        if not node.operator:
            name, argument = node.parts
            assert isinstance(name, Token)
            return self._rule(name, argument if isinstance(argument, Token) else None)
        rules = [self.transform(part) for part in node.parts]
        if node.operator == "~":
            return Not(rules[0])
        return any_of(*rules) if node.operator == "|" else all_of(*rules)

    def _rule(self, name: Token, argument: Token | None) -> Rule:
        position = name.start_pos or 0
        kind = self._kinds.get(str(name)) or self._kinds.get(name.lower())
        if kind is None:
            known = sorted(self._kinds.names())
            near = get_close_matches(name.lower(), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise _Refusal(position, f"there is no rule {name[:40]!r}{hint} Rules: {', '.join(known)}")
        try:
            return as_rule(kind.create(str(argument or "")))
        except ConfigurationError as error:
            raise _Refusal(argument.start_pos or 0 if argument else position, str(error)) from error


def _explained(text: str, error: UnexpectedInput) -> tuple[int, str]:
    position = len(text)
    if isinstance(error, UnexpectedToken):
        position = position if error.token.type == "$END" else error.token.start_pos or 0
        names = error.accepts or error.expected
    else:
        position, names = error.pos_in_stream or 0, getattr(error, "allowed", None) or set()
    if text[position : position + 1] == '"':
        return position, 'this " is never closed (write it twice for one within a quoted name)'
    found = f"found {text[position : position + 20]!r}" if position < len(text) else "the text ends"
    if "NAME" in names:
        return position, f"expected a rule such as every:500steps, every:10m, improved:val_loss or last; {found}"
    if "ARGUMENT" in names and "COLON" not in names:
        return position, f"expected what the colon is for, as in every:500steps; {found}"
    return position, f"expected | or & or {')' if 'RPAR' in names else 'the end'}; {found}"


def _printable(text: str) -> str:
    """Return `text` with every character that a terminal would act upon or not draw replaced, one for one."""
    return "".join("?" if unicodedata.category(one)[0] in "CZ" and one != " " else one for one in text)
