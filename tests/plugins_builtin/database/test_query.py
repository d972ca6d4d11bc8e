"""Queries are read as they are written, mean what the oracle says, and are refused where they make no sense."""

from __future__ import annotations

import itertools
import math
import random
import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.contracts import CheckpointRecord, RecordStore, RunRecord
from model_checkpoint.database.query.parse import MAX_LENGTH, parse
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
from model_checkpoint.database.sqlite_open import open_store
from model_checkpoint.errors import QuerySyntaxError

answer = runpy.run_path(str(Path(__file__).with_name("query_oracle.py")))["answer"]

METRICS = ("loss", "val/acc top-1", "in")
TAGS = ("stage", "order by")
PARAMS = ("lr", "optimizer.name", "amp")
NUMBERS = (0, 1, -2.5, 1e-3, 3, 2**53 + 1, 10**400)
WORDS = ("dev", "Dev", "a%b", "it's", 'a"b', "", "*[x]?", "adam", "true", "é")
NUMERIC = ("step", "epoch", "nbytes", "created_at")
TEXTUAL = ("id", "run", "experiment", "backend", "damage")


def a_world(store: RecordStore) -> tuple[list[CheckpointRecord], dict[str, RunRecord]]:
    """Fill `store` with 60 checkpoints of four runs, everything about them drawn at random."""
    draw = random.Random(7)
    runs, records = {}, []
    for number in range(4):
        config = {
            "lr": draw.choice([0, 1e-3, "0.001", None, math.nan]),
            "optimizer": draw.choice([{"name": draw.choice(WORDS)}, {}, {"name": 1}]),
            "amp": draw.choice([True, False, "true"]),
        }
        tags = {name: draw.choice(WORDS) for name in TAGS if draw.random() < 0.5}
        run = store.create_run(store.ensure_experiment(f"e{number % 2}").id, config=config, tags=tags)
        runs[run.id] = run
    for number, run in zip(range(60), itertools.cycle(runs.values()), strict=False):
        record = CheckpointRecord(
            id=f"c{number:02}",
            run_id=run.id,
            run_name=run.name,
            experiment_id=run.experiment_id,
            created_at_s=draw.choice(NUMBERS[:5]),
            backend=draw.choice(WORDS),
            digest="00",
            nbytes=draw.choice([0, 3]),
            nbytes_written=0,
            duration_s=0.0,
            epoch=draw.choice([None, 0, 1]),
            step=draw.choice([None, 0, 1, 3]),
            metrics={
                name: draw.choice([*NUMBERS[:5], math.nan, math.inf, -0.0]) for name in METRICS if draw.random() < 0.7
            },
            tags={name: draw.choice(WORDS) for name in TAGS if draw.random() < 0.4},
            damage=draw.choice(["", "", "dev"]),
        )
        generation = number // 4
        records.append(store.commit_checkpoint(record, best=[], expected_generation=generation))
    return records, runs


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[RecordStore, list[CheckpointRecord], dict[str, RunRecord]]]:
    store = open_store("sqlite:///:memory:")
    yield store, *a_world(store)
    store.close()


def numbers() -> st.SearchStrategy[Value]:
    return st.sampled_from(NUMBERS).map(Value)


def words() -> st.SearchStrategy[Value]:
    return st.sampled_from(WORDS).map(Value)


numeric_fields = st.one_of(
    st.sampled_from([*METRICS, "unknown"]).map(lambda name: Field(Kind.METRICS, name)),
    st.sampled_from(NUMERIC).map(lambda name: Field(Kind.ATTRIBUTES, name)),
)
textual_fields = st.one_of(
    st.sampled_from([*TAGS, "unknown"]).map(lambda name: Field(Kind.TAGS, name)),
    st.sampled_from(TEXTUAL).map(lambda name: Field(Kind.ATTRIBUTES, name)),
)
param_fields = st.sampled_from([*PARAMS, "unknown.deep"]).map(lambda name: Field(Kind.PARAMS, name))
fields = numeric_fields | textual_fields | param_fields
pairs = st.one_of(
    st.tuples(numeric_fields, numbers()),
    st.tuples(textual_fields, words()),
    st.tuples(param_fields, numbers() | words() | st.booleans().map(Value)),
)
patterns = st.text(st.sampled_from("aDdev%_*[x]?é"), max_size=5)
several = st.one_of(
    st.tuples(numeric_fields, st.lists(numbers(), min_size=1, max_size=3)),
    st.tuples(textual_fields, st.lists(words(), min_size=1, max_size=3)),
    st.tuples(param_fields, st.lists(numbers() | words(), min_size=1, max_size=3)),
)
predicates = st.one_of(
    st.builds(
        lambda pair, op: Comparison(pair[0], op, pair[1]), pairs, st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
    ),
    st.builds(lambda pair, negated: Membership(pair[0], tuple(pair[1]), negated), several, st.booleans()),
    st.builds(Match, textual_fields | param_fields, patterns, st.booleans(), st.booleans()),
    st.builds(Nullness, fields, st.booleans()),
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    predicates,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(Junction, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
queries = st.builds(
    Query, st.none() | conditions, st.lists(st.builds(Sorting, fields, st.booleans()), max_size=2).map(tuple)
)


def written(query: Query) -> str:
    """Return the query as a person would write it."""
    order = ", ".join(f"{a_field(term.field)}{' desc' if term.descending else ''}" for term in query.ordering)
    condition = "" if query.condition is None else a_condition(query.condition)
    return condition + (f" order by {order}" if order else "")


def a_field(field: Field) -> str:
    if field.kind is Kind.ATTRIBUTES:
        return field.name
    plain = field.name.replace(".", "").isidentifier()
    return f"{field.kind}.{field.name if plain else '`' + field.name.replace('`', '``') + '`'}"


def a_value(value: Value) -> str:
    if isinstance(value.literal, str):
        return "'" + value.literal.replace("'", "''") + "'"
    return str(value.literal)


def a_condition(node: Condition) -> str:
    match node:
        case Junction(operator, operands):
            return f" {operator} ".join(f"({a_condition(operand)})" for operand in operands)
        case Not(operand):
            return f"NOT ({a_condition(operand)})"
        case Comparison(field, operator, value):
            return f"{a_field(field)} {operator} {a_value(value)}"
        case Membership(field, values, negated):
            return f"{a_field(field)} {'not ' * negated}in ({', '.join(map(a_value, values))})"
        case Match(field, pattern, ignore_case, negated):
            return f"{a_field(field)} {'not ' * negated}{'i' * ignore_case}like {a_value(Value(pattern))}"
        case Nullness(field, negated):
            return f"{a_field(field)} is {'not ' * negated}null"
    raise AssertionError(node)


@given(queries)
def test_a_query_finds_what_the_oracle_finds(world, query: Query) -> None:
    store, records, runs = world
    assert [record.id for record in store.query_checkpoints(written(query))] == answer(query, records, runs)


scraps = ["(", ")", "and", "or", "not", "in", "like", "step", "metrics.a", ".", "=", "1", "'x'", "`", '"', ","]


@given(st.text(max_size=60) | st.lists(st.sampled_from(scraps)).map(" ".join))
def test_any_text_is_answered_or_refused_with_a_position_within_it(world, query: str) -> None:
    store, _, _ = world
    refusal = None
    try:
        store.query_checkpoints(query, limit=1)
    except QuerySyntaxError as error:
        refusal = error
    assert refusal is None or 0 <= refusal.position <= len(query)
    assert "SELECT" not in str(refusal)


@pytest.mark.parametrize(
    ("query", "position", "problem"),
    [
        ("metrics.loss and x=1", 13, "expected a comparison"),
        ("tags.a = 'x", 9, "never closed"),
        ("stp = 3", 0, "did you mean step"),
        ("val_loss < 1", 0, "did you mean metrics.val_loss?"),
        ("step = 1 order by val_loss", 18, "did you mean metrics.val_loss?"),
        ("stage = 'dev'", 0, "did you mean tags.stage?"),
        ("stage like 'd%'", 0, "did you mean tags.stage?"),
        ("metrics.a = 'x'", 12, "metrics.a is a number"),
        ("tags.a = 3", 9, "expected a text in 'quotes'"),
        ("step = 1 order by", 17, "expected a field"),
        ("foo.bar = 1", 0, "'foo' is none of"),
        ("step like '1%'", 0, "like compares text"),
        ("created_at > 'monday'", 13, "a date such as"),
        ("step = 1; drop table runs", 8, "found ';'"),
        ("step = 1 limit 5", 9, "found 'limit'"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_at_its_place(world, query: str, position: int, problem: str) -> None:
    store, _, _ = world
    with pytest.raises(QuerySyntaxError) as caught:
        store.query_checkpoints(query)
    first, line, caret = str(caught.value).split("\n")
    assert caught.value.position == position
    assert problem in first
    assert (line, caret) == (f"  {query}", f"  {' ' * position}^")


def test_of_a_long_query_the_part_around_the_fault_is_shown() -> None:
    query = "step = 1 and\n" * 40 + "step ! 1 or " + "step = 1 or " * 40
    with pytest.raises(QuerySyntaxError) as caught:
        parse(query)
    _, line, caret = str(caught.value).split("\n")
    assert line.startswith("  step ! 1")
    assert caret == "       ^"
    assert len(line) < 120


def test_words_of_the_language_are_names_after_a_dot() -> None:
    assert parse("params.in.order = 1").condition == Comparison(Field(Kind.PARAMS, "in.order", 0), "=", Value(1, 18))


def test_names_and_texts_are_quoted_by_doubling() -> None:
    found = parse("""tags."a""b" = 'it''s' and metrics.`x``y` <> -1.5E-3""").condition
    assert isinstance(found, Junction)
    first, second = found.operands
    assert (first.field.name, first.value.literal) == ('a"b', "it's")
    assert (second.field.name, second.operator, second.value.literal) == ("x`y", "!=", -1.5e-3)


def test_and_binds_tighter_than_or_and_not_tighter_than_both() -> None:
    found = parse("step=1 or not step=2 and step=3").condition
    assert isinstance(found, Junction)
    assert found.operator == "or"
    assert isinstance(found.operands[1], Junction)
    assert isinstance(found.operands[1].operands[0], Not)


def test_a_date_is_a_moment_in_utc_unless_it_says_otherwise(world) -> None:
    store, _, _ = world
    assert store.query_checkpoints("created_at < '1970-01-01T00:00:00+01:00'", limit=1) == []
    assert store.query_checkpoints("created_at >= '1970-01-01'", limit=1) != []


@pytest.mark.parametrize(
    "query",
    [
        "step = 1 and " * 249 + "step = 1",
        "step = 1 or tags.a = 'x' and " * 120 + "step = 1",
        "(" * 4000 + "step = 1" + ")" * 4000,
        "not (step=1 or metrics.a<1 and " * 6 + "tags.a='x'" + ")" * 6,
        "not " * 19 + "(step=1 or step=2)",
        "step in (" + "1," * 4900 + "1)",
        "params.a in (" + "'x'," * 2400 + "1)",
        "id like '" + "%a" * 4900 + "'",
    ],
    ids=lambda query: query[:20],
)
def test_a_query_at_the_limits_is_answered(world, query: str) -> None:
    store, _, _ = world
    started = time.perf_counter()
    store.query_checkpoints(query)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("x" * (MAX_LENGTH + 1), "characters"),
        ("not " * 2000 + "step = 1", "nested"),
        ("not (step=1 or " * 200 + "step=1" + ")" * 200, "nested"),
        ("step=1 or " * 900 + "step=1", "more than 250"),
        ("'" * 9999, "found"),
        ("step = " + "(" * 9000, "found"),
        ("step = '" + "''" * 4900, "never closed"),
    ],
    ids=lambda text: text[:20],
)
def test_a_query_beyond_the_limits_is_refused_at_once(query: str, problem: str) -> None:
    parse("step = 1")  # builds the parser
    started = time.perf_counter()
    with pytest.raises(QuerySyntaxError, match=problem):
        parse(query)
    assert time.perf_counter() - started < 2


def test_the_time_to_read_a_query_grows_with_its_length_alone() -> None:
    def seconds(count: int) -> float:
        query = "step in (" + "1," * count + "1)"
        started = time.perf_counter()
        parse(query)
        return time.perf_counter() - started

    parse("step = 1")
    short, long = min(seconds(400) for _ in range(5)), min(seconds(4000) for _ in range(5))
    assert long < 30 * short


def test_an_integer_of_thousands_of_digits_is_a_number(world) -> None:
    store, _, _ = world
    assert sys.get_int_max_str_digits() < 5000
    assert store.query_checkpoints("metrics.loss > " + "9" * 5000) != []
