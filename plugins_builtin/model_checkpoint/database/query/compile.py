"""Turns a query into one SELECT. Every name and value of the query is a bound parameter; its text never becomes SQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import assert_never

from sqlalchemy import ColumnElement, Double, Select, and_, exists, false, func, literal, not_, or_, select

from model_checkpoint.database.checkpoint_rows import checkpoint_rows
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
from model_checkpoint.database.schema import (
    ExactText,
    checkpoint_metrics,
    checkpoint_tags,
    checkpoints,
    experiments,
    run_params,
    run_tags,
    runs,
)
from model_checkpoint.database.values import comparable

Test = Callable[[ColumnElement[object]], ColumnElement[bool]]

_NUMBERS: dict[str, ColumnElement[object]] = {
    "step": checkpoints.c.step,
    "epoch": checkpoints.c.epoch,
    "nbytes": checkpoints.c.nbytes,
    "created_at": checkpoints.c.created_at_s,
}
_TEXTS: dict[str, ColumnElement[object]] = {
    "id": checkpoints.c.id,
    "run": runs.c.name,
    "experiment": experiments.c.name,
    "backend": checkpoints.c.backend,
    "damage": func.nullif(checkpoints.c.damage, "", type_=ExactText()),
}


def compile_checkpoints(query: Query, dialect: str, text: str) -> Select[tuple[object, ...]]:
    """Return the statement for `load_checkpoints`. `text` is the query as written, for messages.

    Raises ``QuerySyntaxError`` for a field that does not exist and a value of the wrong type.
    """
    compiler = _Compiler(dialect, text)
    statement = checkpoint_rows()
    if query.condition is not None:
        statement = statement.where(compiler.condition(query.condition))
    for term in query.ordering:
        statement = statement.order_by(*compiler.sorting(term))
    return statement.order_by(checkpoints.c.key.desc())


class _Compiler:
    def __init__(self, dialect: str, text: str) -> None:
        self._dialect, self._text = dialect, text

    def condition(self, node: Condition) -> ColumnElement[bool]:
        match node:
            case Junction(operator, operands):
                joined = and_ if operator == "and" else or_
                return joined(*[self.condition(operand) for operand in operands])
            case Not(operand):
                return not_(self.condition(operand))
            case Comparison(field, operator, value):
                return self._compare(field, operator, value)
            case Membership(field, values, negated):
                member = self._member(field, values)
                return self._differs(field, member) if negated else member
            case Match(field, pattern, ignore_case, negated):
                matched = self._match(field, pattern, ignore_case)
                return self._differs(field, matched) if negated else matched
            case Nullness(field, negated):
                missing = self._missing(field)
                return not_(missing) if negated else missing
            case _:
                assert_never(node)

    def sorting(self, term: Sorting) -> list[ColumnElement[object]]:
        keys = [key.desc() if term.descending else key.asc() for key in self._sort_keys(term.field)]
        return [key.nulls_last() for key in keys]

    def _sort_keys(self, field: Field) -> list[ColumnElement[object]]:
        match field.kind:
            case Kind.METRICS:
                value = select(checkpoint_metrics.c.value).where(*_metric(field))
                return [value.scalar_subquery()]
            case Kind.TAGS:
                return [_tag(field)]
            case Kind.PARAMS:
                both = run_params.c.number, run_params.c.text
                return [select(one).where(*_param(field)).scalar_subquery() for one in both]
            case Kind.ATTRIBUTES:
                return [self._attribute(field)]
            case _:
                assert_never(field.kind)

    def _differs(self, field: Field, equal: ColumnElement[bool]) -> ColumnElement[bool]:
        """Return the opposite of `equal` for whatever has the field at all."""
        return and_(not_(self._missing(field)), not_(equal))

    def _compare(self, field: Field, operator: str, value: Value) -> ColumnElement[bool]:
        if operator == "!=":
            return self._differs(field, self._compare(field, "=", value))
        bound = self._bound(field, value)
        return self._test(field, isinstance(bound.type, Double), lambda subject: _OPERATORS[operator](subject, bound))

    def _member(self, field: Field, values: tuple[Value, ...]) -> ColumnElement[bool]:
        bound = [self._bound(field, value) for value in values]
        numbers = [one for one in bound if isinstance(one.type, Double)]
        texts = [one for one in bound if not isinstance(one.type, Double)]
        tests = [self._test(field, True, lambda subject: subject.in_(numbers))] if numbers else []
        tests += [self._test(field, False, lambda subject: subject.in_(texts))] if texts else []
        return or_(*tests)

    def _match(self, field: Field, pattern: str, ignore_case: bool) -> ColumnElement[bool]:
        if self._is_number(field, Kind.TAGS):
            raise self._fault(field.position, f"{_shown(field)} is a number; like compares text")
        return self._test(field, False, lambda subject: self._like(subject, pattern, ignore_case))

    def _like(self, subject: ColumnElement[object], pattern: str, ignore_case: bool) -> ColumnElement[bool]:
        if self._dialect != "sqlite":
            return subject.ilike(pattern, escape="") if ignore_case else subject.like(pattern, escape="")
        if ignore_case:  # SQLite's LIKE never minds the case of ASCII letters, its GLOB always does
            return subject.op("LIKE", is_comparison=True)(_text(pattern))
        return subject.op("GLOB", is_comparison=True)(_text(_glob(pattern)))

    def _test(self, field: Field, of_number: bool, test: Test) -> ColumnElement[bool]:
        """Return `test` on the field's column; false, never NULL, where there is nothing to test."""
        match field.kind:
            case Kind.METRICS:
                return exists().where(*_metric(field), test(checkpoint_metrics.c.value))
            case Kind.PARAMS:
                column = run_params.c.number if of_number else run_params.c.text
                return exists().where(*_param(field), test(column))
            case Kind.TAGS:
                return func.coalesce(test(_tag(field)), false())
            case Kind.ATTRIBUTES:
                return func.coalesce(test(self._attribute(field)), false())
            case _:
                assert_never(field.kind)

    def _missing(self, field: Field) -> ColumnElement[bool]:
        match field.kind:
            case Kind.METRICS:
                return not_(exists().where(*_metric(field)))
            case Kind.PARAMS:
                return not_(exists().where(*_param(field), run_params.c.text.is_not(None)))
            case Kind.TAGS:
                return _tag(field).is_(None)
            case Kind.ATTRIBUTES:
                return self._attribute(field).is_(None)
            case _:
                assert_never(field.kind)

    def _is_number(self, field: Field, likely: Kind) -> bool:
        if field.kind is Kind.ATTRIBUTES:
            self._attribute(field, likely)
            return field.name in _NUMBERS
        return field.kind is Kind.METRICS

    def _attribute(self, field: Field, likely: Kind = Kind.METRICS) -> ColumnElement[object]:
        """Return the column of a bare name; one that is not known was `likely` meant for a field of another kind."""
        column = _NUMBERS.get(field.name)
        column = _TEXTS.get(field.name) if column is None else column
        if column is None:
            known = sorted([*_NUMBERS, *_TEXTS])
            near = get_close_matches(field.name, _TEXTS if likely is Kind.TAGS else known, n=1)
            raise self._fault(
                field.position,
                f"there is no field of that name; did you mean {near[0] if near else f'{likely}.{field.name}'}? Fields:"
                f" {', '.join(known)}, metrics.NAME, tags.NAME, params.NAME",
            )
        return column

    def _bound(self, field: Field, value: Value) -> ColumnElement[object]:
        """Return the value as a bound parameter of the type in which the field is compared."""
        given = value.literal
        if field.kind is Kind.PARAMS:
            if isinstance(given, bool):
                return _text(str(given).lower())
            return _text(given) if isinstance(given, str) else _number(given)
        if self._is_number(field, Kind.TAGS if isinstance(given, str) else Kind.METRICS):
            if isinstance(given, str) and field.name == "created_at" and field.kind is Kind.ATTRIBUTES:
                return _number(self._seconds(given, value.position))
            if isinstance(given, (str, bool)):
                raise self._fault(value.position, f"{_shown(field)} is a number: expected a number")
            return _number(given)
        if not isinstance(given, str):
            raise self._fault(value.position, f"{_shown(field)} is text: expected a text in 'quotes'")
        return _text(given)

    def _seconds(self, given: str, position: int) -> float:
        try:
            moment = datetime.fromisoformat(given)
        except ValueError:
            raise self._fault(
                position, "expected Unix seconds, or a date such as '2026-01-31' or '2026-01-31T12:00:00+01:00'"
            ) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def _fault(self, position: int, problem: str) -> Exception:
        return fault(self._text, position, problem)


_OPERATORS: dict[str, Callable[[ColumnElement[object], ColumnElement[object]], ColumnElement[bool]]] = {
    "=": lambda subject, bound: subject == bound,
    "<": lambda subject, bound: subject < bound,
    "<=": lambda subject, bound: subject <= bound,
    ">": lambda subject, bound: subject > bound,
    ">=": lambda subject, bound: subject >= bound,
}


def _metric(field: Field) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return checkpoint_metrics.c.checkpoint_key == checkpoints.c.key, checkpoint_metrics.c.name == _text(field.name)


def _param(field: Field) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return run_params.c.run_key == checkpoints.c.run_key, run_params.c.name == _text(field.name)


def _tag(field: Field) -> ColumnElement[object]:
    """Return the checkpoint's tag, else its run's."""
    name = _text(field.name)
    own = checkpoint_tags.c.checkpoint_key == checkpoints.c.key, checkpoint_tags.c.name == name
    of_run = run_tags.c.run_key == checkpoints.c.run_key, run_tags.c.name == name
    return func.coalesce(
        select(checkpoint_tags.c.value).where(*own).scalar_subquery(),
        select(run_tags.c.value).where(*of_run).scalar_subquery(),
    )


def _number(number: int | float) -> ColumnElement[object]:
    return literal(comparable(number), Double())


def _text(text: str) -> ColumnElement[object]:
    return literal(text, ExactText())


def _glob(pattern: str) -> str:
    """Return a LIKE pattern as a GLOB pattern."""
    turned = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
    return "".join(turned.get(one, one) for one in pattern)


def _shown(field: Field) -> str:
    return field.name if field.kind is Kind.ATTRIBUTES else f"{field.kind}.{field.name}"
