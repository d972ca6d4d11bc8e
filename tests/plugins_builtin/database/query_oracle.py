"""What a query means, said a second time and naively: over records in a list, without a database."""

from __future__ import annotations

import re
from functools import cmp_to_key

from model_checkpoint.contracts import CheckpointRecord, RunRecord
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
)

MISSING = (None, None)


def answer(query: Query, records: list[CheckpointRecord], runs: dict[str, RunRecord]) -> list[str]:
    """Return the ids that `query` finds among `records`, which are in the order of writing."""
    found = [one for one in reversed(records) if query.condition is None or holds(query.condition, one, runs)]
    for term in reversed(query.ordering):  # sorting is stable: the last term first

        def compare(left: CheckpointRecord, right: CheckpointRecord, term=term) -> int:
            keys = (sort_keys(term.field, left, runs), sort_keys(term.field, right, runs))
            for a, b in zip(*keys, strict=True):
                if a is None or b is None:
                    if (a is None) != (b is None):
                        return 1 if a is None else -1
                elif a != b:
                    return (1 if a > b else -1) * (-1 if term.descending else 1)
            return 0

        found.sort(key=cmp_to_key(compare))
    return [one.id for one in found]


def holds(node: Condition, record: CheckpointRecord, runs: dict[str, RunRecord]) -> bool:
    """Return whether a condition is true of a record."""
    match node:
        case Junction("and", operands):
            return all(holds(operand, record, runs) for operand in operands)
        case Junction(_, operands):
            return any(holds(operand, record, runs) for operand in operands)
        case Not(operand):
            return not holds(operand, record, runs)
        case Nullness(field, negated):
            return (look_up(field, record, runs) == MISSING) != negated
        case Membership(field, values, negated):
            there = look_up(field, record, runs) != MISSING
            equal = any(holds(Comparison(field, "=", value), record, runs) for value in values)
            return there and equal != negated
        case Match(field, pattern, ignore_case, negated):
            text = look_up(field, record, runs)[1]
            if text is None:
                return False
            regex = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
            flags = re.DOTALL | (re.IGNORECASE | re.ASCII if ignore_case else 0)
            return (re.fullmatch(regex, text, flags) is not None) != negated
        case Comparison(field, operator, value):
            number, text = look_up(field, record, runs)
            literal = str(value.literal).lower() if isinstance(value.literal, bool) else value.literal
            if operator == "!=":
                return (number, text) != MISSING and not holds(Comparison(field, "=", value), record, runs)
            left = text if isinstance(literal, str) else number
            if left is None:
                return False
            return {
                "=": left == literal,
                "<": left < literal,
                "<=": left <= literal,
                ">": left > literal,
                ">=": left >= literal,
            }[operator]
    raise AssertionError(node)


def look_up(field: Field, record: CheckpointRecord, runs: dict[str, RunRecord]) -> tuple[float | None, str | None]:
    """Return what a field is as a number and as a text; None where it is not."""
    run = runs[record.run_id]
    match field.kind:
        case Kind.METRICS:
            return record.metrics.get(field.name), None
        case Kind.TAGS:
            return None, record.tags.get(field.name, run.tags.get(field.name))
        case Kind.PARAMS:
            value: object = run.config
            for part in field.name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, bool):
                return None, str(value).lower()
            if isinstance(value, (int, float)):
                return value, repr(value)
            return None, value if isinstance(value, str) else None
        case Kind.ATTRIBUTES:
            texts = {
                "id": record.id,
                "run": record.run_name,
                "experiment": run.experiment_name,
                "backend": record.backend,
                "damage": record.damage or None,
            }
            if field.name in texts:
                return None, texts[field.name]
            name = "created_at_s" if field.name == "created_at" else field.name
            return getattr(record, name), None


def sort_keys(field: Field, record: CheckpointRecord, runs: dict[str, RunRecord]) -> list[float | str | None]:
    """Return what a record is sorted by; NaN counts as missing."""
    number, text = look_up(field, record, runs)
    return [None if number != number else number, text]
