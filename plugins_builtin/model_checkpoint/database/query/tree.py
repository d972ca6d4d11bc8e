"""What a query says, as values: made by `parse`, read by `compile` and by the tests' oracle."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Kind(StrEnum):
    """Where a field is looked up."""

    METRICS = "metrics"
    TAGS = "tags"
    PARAMS = "params"
    ATTRIBUTES = "attributes"


@dataclass(frozen=True, slots=True)
class Field:
    """``metrics.val_loss``; a bare name is an attribute of the checkpoint."""

    kind: Kind
    name: str
    position: int = 0
    """Offset in the query, in characters, for messages; as in every value here that has one."""


Literal: TypeAlias = "int | float | str | bool"


@dataclass(frozen=True, slots=True)
class Value:
    """A literal and where it stands."""

    literal: Literal
    position: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field operator value``; the operator is one of ``= != < <= > >=``."""

    field: Field
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Membership:
    """``field [not] in (value, ...)``."""

    field: Field
    values: tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """``field [not] like 'pattern'``, or ``ilike``."""

    field: Field
    pattern: str
    ignore_case: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Nullness:
    """``field is [not] null``."""

    field: Field
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """``not condition``."""

    operand: Condition


@dataclass(frozen=True, slots=True)
class Junction:
    """``a and b and c``, or with ``or``: at least two operands."""

    operator: str
    operands: tuple[Condition, ...]


Condition: TypeAlias = Comparison | Membership | Match | Nullness | Not | Junction


@dataclass(frozen=True, slots=True)
class Sorting:
    """One term of ``order by``."""

    field: Field
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query; both parts may be missing."""

    condition: Condition | None = None
    ordering: tuple[Sorting, ...] = ()
