"""Values come back from JSON as what they were; what cannot be stored is named; a hostile tree is refused."""

from __future__ import annotations

import contextlib
import enum
import json
import math
import sys
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.common.leaves import MAX_DEPTH, child_path, decode, encode
from model_checkpoint.common.leaves.read import _READERS
from model_checkpoint.errors import StateDecodeError, UnstorableStateError


class Stage(enum.Enum):
    FINE = "f"
    COARSE = ("c", 1)
    ALSO_FINE = FINE


class Level(enum.IntEnum):
    HIGH = 3


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Numbered(enum.IntFlag):
    ONE = 1
    TWO = 2


class Point(NamedTuple):
    x: object
    y: object = 0


Pair = namedtuple("Pair", "left right")  # the older way, which people still use


def nothing_else(value: object, path: str, encode: Callable[[object, str], object]) -> None:
    return None


def no_other_kind(kind: str, node: object, decode: Callable[[object], object]) -> object:
    raise StateDecodeError(f"unknown kind {kind!r}")


def round_trip(value: object) -> object:
    text = json.dumps(encode(value, nothing_else), allow_nan=False, ensure_ascii=False)
    return decode(json.loads(text.encode("utf-8")), no_other_kind)


def same(a: object, b: object) -> bool:
    """Equality that tells 1 from True and 1.0, and 0.0 from -0.0, at every depth; NaN equals itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return (a != a and b != b) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, complex) and isinstance(b, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, dict) and isinstance(b, dict):
        return len(a) == len(b) and all(same(x, y) and same(a[x], b[y]) for x, y in zip(a, b, strict=True))
    if isinstance(a, list | tuple | deque) and isinstance(b, list | tuple | deque):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


zones = st.none() | st.just(UTC) | st.builds(
    timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text(max_size=5)
) | st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")])  # fmt: skip
hashable = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates()
    | st.uuids() | st.fractions() | st.sampled_from([*Stage, *Level, *Rights, *Numbered, Rights.READ | Rights.WRITE])
    | st.tuples(st.integers(), st.text())
)  # fmt: skip
scalars = (
    hashable | st.floats() | st.complex_numbers() | st.decimals(allow_nan=False) | st.timedeltas() | st.times()
    | st.datetimes(timezones=zones) | st.binary().map(bytearray) | st.builds(slice, st.none() | st.integers())
    | st.builds(range, st.integers(-9, 9), st.integers(), st.integers(1, 2**70))
    | st.sampled_from([int, list, dict, ..., UTC, Path("a/b"), PurePosixPath("/x"), PureWindowsPath("C:/x")])
    | st.text(st.characters()).map(lambda text: text + "\udc80")
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.lists(inner).map(lambda v: deque(v, len(v) + 1))
        | st.dictionaries(st.text(), inner) | st.dictionaries(hashable, inner)
        | st.dictionaries(st.text(), inner).map(OrderedDict) | st.dictionaries(hashable, inner).map(OrderedDict)
        | st.dictionaries(hashable, inner).map(lambda v: defaultdict(list, v))
        | st.dictionaries(hashable, st.integers()).map(Counter)
        | st.sets(hashable) | st.frozensets(hashable) | st.builds(Point, inner, inner) | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_every_value_of_the_vocabulary_comes_back_as_what_it_was(value: object) -> None:
    assert same(round_trip(value), value)


@pytest.mark.parametrize(
    "value",
    [
        {"$": "tensor", "v": 1}, {"$": None}, {"a": {"$": {"$": 1}}}, {True: 2}, {"1": 1, 1: 2},
        2**53 + 1, -(2**400), -0.0, math.nan, complex(math.nan, -0.0), Decimal("-0"), Decimal("1E-400"),
        "\ud800", {"\ud800": 1}, "", "\x00", "\u2028", Rights(0), Numbered(7), Stage.ALSO_FINE, Counter({"a": -1.5}),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), time(1, 2, fold=1), date.min,
        datetime.max, defaultdict(None, {1: 2}), deque([1], 0), timedelta.max, slice(2**70, None, -1), UUID(int=0),
        10**5000, Fraction(10**5000, 7), {Fraction(10**5000, 7)},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_on_the_edge_come_back_as_what_they_were(value: object) -> None:
    assert same(round_trip(value), value)
    assert getattr(round_trip(value), "fold", 0) == getattr(value, "fold", 0)


def test_what_hangs_on_an_ordered_dict_comes_back_with_it() -> None:
    state = OrderedDict(weight=1)
    state._metadata = OrderedDict({"": {"version": 2}})  # type: ignore[attr-defined]
    back = round_trip(state)
    assert vars(back) == {"_metadata": OrderedDict({"": {"version": 2}})}


def test_a_set_is_written_in_an_order_that_does_not_depend_on_the_process() -> None:
    assert encode({"b", "a", 3, 1}, nothing_else) == {"$": "set", "v": [1, 3, "a", "b"]}


def test_plain_json_is_written_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}}
    assert encode(value, nothing_else) == value


class WithoutClass(tzinfo):
    key = "Europe/Berlin"


class Repulsive:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_all_problems_are_reported_at_once_each_with_its_place() -> None:
    class Local(enum.Enum):
        A = 1

    value = {
        "fn": print, "log": [open], "odd": {(1, 2): Repulsive()}, "by": {"x": {3: defaultdict(lambda: 1)}},
        "p": Point(object()), "when": datetime(2026, 1, 1, tzinfo=WithoutClass()), "local": Local.A, "d": UserDict(),
        "c": Stage, "s": slice("a"), "key": {frozenset([object()]): 1}, "t": time(1, tzinfo=UTC), "fine": 1,
    }  # fmt: skip
    with pytest.raises(UnstorableStateError) as refused:
        encode(value, nothing_else, path="state")
    places = [path.partition(" key ")[0] for path, _ in refused.value.problems]
    assert places == [
        "state.fn", "state.log[0]", "state.odd[(1, 2)]", "state.by.x[3]", "state.p.x", "state.when", "state.local",
        "state.d", "state.c", "state.s", "state.key", "state.t",
    ]  # fmt: skip
    told = str(refused.value)
    for part in (
        "a builtin_function_or_method cannot be stored (<built-in function print>); leave it out",
        "repr raised RuntimeError", "use a builtin such as list", "top level of a module", "use a datetime", "zoneinfo",
    ):  # fmt: skip
        assert part in told


def test_a_cycle_is_named_and_not_followed() -> None:
    loop: dict[str, object] = {"a": [1]}
    loop["a"].append(loop)  # type: ignore[attr-defined]
    with pytest.raises(UnstorableStateError, match=r"state\.a\[1\]: this dict contains itself"):
        encode(loop, nothing_else)


def test_the_same_list_twice_is_no_cycle() -> None:
    shared = [1]
    assert round_trip({"a": shared, "b": [shared, shared]}) == {"a": [1], "b": [[1], [1]]}


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: {"a": v}, lambda v: {1: v}, lambda v: (v,), Point],
    ids=["list", "dict", "pairs", "tuple", "namedtuple"],
)
def test_the_deepest_allowed_value_comes_back_and_one_level_more_is_refused(wrap: Callable[[object], object]) -> None:
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    assert round_trip(value) == value
    if wrap is not Point:
        with pytest.raises(UnstorableStateError, match=f"deeper than {MAX_DEPTH} levels"):
            encode(wrap(value), nothing_else)


def test_a_chain_without_end_is_an_error_and_no_crash() -> None:
    class Endless:
        pass

    def unwrap(value: object, path: str, encode: Callable[[object, str], object]) -> object:
        return encode(Endless(), path)

    with pytest.raises(UnstorableStateError, match="flatten it"):
        encode([Endless()], unwrap)


def test_a_tree_that_is_nested_without_end_is_a_typed_error() -> None:
    tree: object = 1
    for _ in range(5000):
        tree = {"$": "tuple", "v": [tree]}
    with pytest.raises(StateDecodeError, match="nested deeper"):
        decode(tree, no_other_kind)


@pytest.mark.parametrize(
    "tree",
    [
        {"$": "never"}, {"$": 3}, {"$": []}, {"$": {}}, {"$": "tuple"}, {"$": "tuple", "v": 3},
        {"$": "tuple", "v": {"a": 1}}, {"$": "complex", "v": "ab"}, {"$": "complex", "v": ["x", "y"]},
        {"$": "dict", "v": [[1]]}, {"$": "dict", "v": [[[], 1]]}, {"$": "dict", "v": "ab"}, {"$": "dict", "v": [1]},
        {"$": "set", "v": [[1]]}, {"$": "int", "v": 3}, {"$": "int", "v": "zz"}, {"$": "float", "v": "x"},
        {"$": "bytes", "v": "%%"}, {"$": "bytes", "v": None},
        {"$": "date", "v": "2026-13-01"}, {"$": "datetime", "v": {"at": "x", "fold": 0}}, {"$": "datetime", "v": []},
        {"$": "datetime", "v": {"at": "2026-01-01", "fold": 7}}, {"$": "datetime", "v": {"at": 1, "fold": 0}},
        {"$": "datetime", "v": {"at": "2026-01-01", "fold": 0, "key": "../../etc/passwd"}},
        {"$": "datetime", "v": {"at": "2026-01-01", "fold": 0, "key": "Europe"}},
        {"$": "datetime", "v": {"at": "2026-01-01", "fold": 0, "key": "a\x00b"}},
        {"$": "datetime", "v": {"at": "2026-01-01", "fold": 0, "key": 5}},
        {"$": "datetime", "v": {"at": "2026-01-01", "fold": 0, "zone": [[99, 0, 0], None]}},
        {"$": "timedelta", "v": [1, 2]}, {"$": "timedelta", "v": [10**12, 0, 0]}, {"$": "timezone", "v": 1},
        {"$": "decimal", "v": "x"}, {"$": "fraction", "v": "1e999999999"}, {"$": "fraction", "v": ["0x1", "0x0"]},
        {"$": "uuid", "v": "x"}, {"$": "slice", "v": [1, 2, 3]}, {"$": "range", "v": ["0x0", "0x1", "0x0"]},
        {"$": "type", "v": "eval"}, {"$": "path", "class": "Path", "v": "x"}, {"$": "path", "class": [], "v": "x"},
        {"$": "defaultdict", "factory": "eval", "v": []}, {"$": "defaultdict", "factory": {}, "v": []},
        {"$": "deque", "maxlen": -1, "v": []}, {"$": "deque", "maxlen": "3", "v": []}, {"$": "str", "v": "//8="},
        {"$": "counter", "v": [[{}, 1]]}, {"$": "odict", "v": {}, "attributes": {"$": "dict", "v": [[1, 2]]}},
        {"$": "odict", "v": {}, "attributes": {"copy": 1}}, {"$": "odict", "v": {}, "attributes": []},
        {"$": "enum", "class": "os:system", "v": "x"}, {"$": "enum", "class": 3, "v": "x"}, {"$": "enum", "v": "x"},
        {"$": "flag", "class": "os:system", "v": 1}, {"$": "namedtuple", "class": "builtins:tuple", "v": []},
        {"$": "namedtuple", "class": "subprocess:Popen", "v": []}, {"$": "namedtuple", "class": "", "v": []},
    ],
    ids=lambda tree: str(tree)[:60],
)  # fmt: skip
def test_a_tree_that_was_never_written_is_a_typed_error(tree: object) -> None:
    with pytest.raises(StateDecodeError):
        decode({"a": [tree]}, no_other_kind)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.just("v"), inner, max_size=4),
    max_leaves=10,
)
kinds = st.sampled_from(sorted(_READERS))
nodes = st.builds(
    lambda kind, v, extra: {"v": v, **extra, "$": kind},
    kinds,
    json_values,
    st.dictionaries(st.sampled_from(["class", "maxlen", "factory", "attributes"]), json_values),
)


@given(nodes)
def test_any_json_in_a_node_gives_a_value_or_a_typed_error(tree: object) -> None:
    with contextlib.suppress(StateDecodeError):
        decode(tree, no_other_kind)


def test_an_enum_or_named_tuple_whose_class_is_gone_says_what_to_import() -> None:
    with pytest.raises(StateDecodeError, match="import 'train' before loading"):
        decode({"$": "enum", "class": "train:Stage", "v": "FINE"}, no_other_kind)
    with pytest.raises(StateDecodeError, match="has no member 'GONE' any more"):
        decode({"$": "enum", "class": f"{Stage.__module__}:Stage", "v": "GONE"}, no_other_kind)
    with pytest.raises(StateDecodeError, match="no named tuple of 3 fields"):
        decode({"$": "namedtuple", "class": f"{Point.__module__}:Point", "v": [1, 2, 3]}, no_other_kind)


def test_reading_imports_nothing_even_where_a_module_would_when_asked_for_an_attribute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import concurrent.futures

    monkeypatch.delitem(sys.modules, "concurrent.futures.process", raising=False)
    for name in ("process", "ProcessPoolExecutor"):
        monkeypatch.delitem(vars(concurrent.futures), name, raising=False)
    for name in ("concurrent.futures:ProcessPoolExecutor", "antigravity:fly", "xmlrpc.client:Fault"):
        with pytest.raises(StateDecodeError):
            decode({"$": "enum", "class": name, "v": "x"}, no_other_kind)
    assert {"concurrent.futures.process", "antigravity", "xmlrpc.client"}.isdisjoint(sys.modules)


def test_a_path_of_another_system_comes_back_pure() -> None:
    back = decode({"$": "path", "class": "WindowsPath", "v": "C:\\x"}, no_other_kind)
    assert back == PureWindowsPath("C:\\x")


def test_places_are_written_as_a_user_would_write_them() -> None:
    assert child_path("a", "b.c") == "a.b.c"
    assert child_path("a", 0) == "a[0]"
    assert child_path("", "b") == "b"
    assert child_path("a", "x" * 9) == "a.xxxxxxxxx"
    assert len(child_path("a", b"x" * 900)) < 70
