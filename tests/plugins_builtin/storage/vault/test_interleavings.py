"""A save that relies on tensors which a collection is about to remove, in every order of their file-system calls.

Each schedule lets one go on for some calls, then another, then both to their ends. Whatever the order, the checkpoint
that was saved reads, and later collections leave every content once. With one step of the protocol left out, some
schedule loses a tensor: so these schedules would find it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import runpy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import CheckpointEngineError
from model_checkpoint.storage.vault import collect
from model_checkpoint.storage.vault.catalog import Catalog
from model_checkpoint.storage.vault.collect import Collector
from model_checkpoint.storage.vault.intents import Intents
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.storage.vault.store import VaultStore

IN_FULL = os.environ.get("MCE_FULL") == "1"
SCHEDULES = 600 if IN_FULL else 40
"""How many schedules of each pair are tried."""
MOST_CALLS = 75
Tidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))
made, reads, untidy = Tidy["made"], Tidy["reads"], Tidy["untidy"]
Turns = runpy.run_path(str(Path(__file__).with_name("turns.py")))
Actor, take_turns = Turns["Actor"], Turns["take_turns"]
Change = Callable[[VaultStore], object]


@dataclass(frozen=True)
class Case:
    """Two that work at once on what is there."""

    before: dict[str, str]
    forgotten: tuple[str, ...]
    first: Change
    second: Change
    after: dict[str, str]
    """What must be there in the end, whatever the order."""
    perhaps: dict[str, str]
    """What may be there or not."""


def collecting(store: VaultStore) -> object:
    return store.collect()


def reading(store: VaultStore, checkpoint_id: str, letters: str) -> None:
    assert store.verify(checkpoint_id).ok
    assert reads(store, checkpoint_id, letters)


CASES = {
    "a save and the pack it needs": Case(
        {"old": "ABC"}, ("old",), lambda store: store.write(made("new", "ABD")), collecting, {"new": "ABD"}, {}
    ),
    "a save and a pack that is written anew": Case(
        {"old": "ABCD", "keeps": "D"},
        ("old",),
        lambda store: store.write(made("new", "AD")),
        collecting,
        {"new": "AD", "keeps": "D"},
        {},
    ),
    "a save and packs that are merged": Case(
        {"one": "A", "two": "B", "three": "CE"},
        (),
        lambda store: store.write(made("new", "ABD")),
        collecting,
        {"one": "A", "two": "B", "three": "CE", "new": "ABD"},
        {},
    ),
    "a reader and packs that are merged": Case(
        {"one": "A", "two": "BC", "three": "AC"},
        (),
        lambda store: reading(store, "three", "AC"),
        collecting,
        {"one": "A", "two": "BC", "three": "AC"},
        {},
    ),
    "a reader and a pack that is written anew": Case(
        {"old": "ABCD", "keeps": "D"},
        ("old",),
        lambda store: reading(store, "keeps", "D"),
        collecting,
        {"keeps": "D"},
        {},
    ),
    "a deletion taken back": Case(
        {"old": "ABC", "other": "B"}, ("old",), lambda store: store.restore("old"), collecting, {}, {"old": "ABC"}
    ),
    "a deletion": Case(
        {"old": "ABC", "other": "BD"}, (), lambda store: store.forget("old"), collecting, {"other": "BD"}, {}
    ),
    "two saves": Case(
        {"old": "AB"},
        (),
        lambda store: store.write(made("new", "ACD")),
        lambda store: store.write(made("newer", "CDE")),
        {"old": "AB", "new": "ACD", "newer": "CDE"},
        {},
    ),
    "two collections": Case(
        {"old": "ABCD", "keeps": "D", "gone": "EF", "other": "F"},
        ("old", "gone"),
        collecting,
        collecting,
        {"keeps": "D", "other": "F"},
        {},
    ),
}


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the order of the calls decide how long a collection waits."""
    monkeypatch.setattr(collect, "_PAUSE_S", 0.0)
    monkeypatch.setattr(collect, "MERGE_COUNT", 2)


def schedules(count: int, seed: int) -> Iterator[tuple[bool, int, int, int]]:
    """Yield who begins and for how many calls each goes on before it is stopped; those of two stops come first."""
    chosen = random.Random(seed)
    stops = [*itertools.product((True, False), range(MOST_CALLS), range(1, MOST_CALLS))]
    chosen.shuffle(stops)
    for starts, first, second in stops[: count * 2 // 3]:
        yield starts, first, second, 1000
    for _ in range(count - count * 2 // 3):
        yield chosen.random() < 0.5, *(chosen.randrange(MOST_CALLS) for _ in range(3))


def run(root: Path, case: Case, schedule: tuple[bool, int, int, int]) -> None:
    """Do both in that order, and see what is there then."""
    actors = [Actor("first"), Actor("second")]
    stores = [open_vault(root, actor) for actor in actors]
    for name, letters in case.before.items():
        stores[0].write(made(name, letters))
    for name in case.forgotten:
        stores[0].forget(name)
    starts, *counts = schedule
    order = actors if starts else actors[::-1]
    for actor, store, work in zip(actors, stores, (case.first, case.second), strict=True):
        actor.start(lambda store=store, work=work: work(store))
    take_turns(zip(itertools.cycle(order), counts, strict=False), actors)
    for actor in actors:
        if actor.error is not None and not (case.perhaps and isinstance(actor.error, CheckpointEngineError)):
            raise actor.error
    check(root, case, actors[0].error is None)
    for store in stores:
        store.close()
    assert untidy(root) == []


def check(root: Path, case: Case, acknowledged: bool) -> None:
    """See with another store that everything reads, before and after other collections."""
    store = open_vault(root, FsOps())
    wanted = {**case.after, **(case.perhaps if acknowledged else {})}
    for _ in range(3):
        for name, letters in wanted.items():
            assert reads(store, name, letters)
        assert (
            wanted.keys()
            <= set(store.list_ids())
            <= {*case.before, *case.after, *case.perhaps} - (set(case.forgotten) - case.perhaps.keys())
        )
        store.collect()  # the first may put a pack back that was left in trash, and the next one sees what is double
    store.close()


def run_all(folder: Path, case: Case, count: int, seed: int) -> None:
    for number, schedule in enumerate(schedules(count, seed)):
        root = folder / str(number)
        try:
            run(root, case, schedule)
        except BaseException as error:
            error.add_note(f"schedule {schedule}")
            raise
        shutil.rmtree(root)


@pytest.mark.parametrize("name", CASES)
def test_no_order_of_their_calls_loses_anything(name: str, folder: Path) -> None:
    run_all(folder, CASES[name], SCHEDULES, seed=7)


@pytest.mark.parametrize("name", CASES)
def test_a_collection_that_waits_for_nobody_loses_nothing_either(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves to a later one what it cannot decide."""
    monkeypatch.setattr(Collector.__init__, "__defaults__", (0.0,))
    run_all(folder, CASES[name], SCHEDULES // 3, seed=8)


@contextlib.contextmanager
def unannounced(intents: Intents, writer: object) -> Iterator[str]:
    yield "nobody"


def waits_for_nobody(collector: Collector, names: set[str]) -> bool:
    return True


_home, _needed = Catalog.home, Collector._needed


def home_in_trash(catalog: Catalog, sha256: str, nbytes: int) -> str | None:
    for name in catalog.index.where(sha256):
        if any((folder / name).exists() for folder in (catalog.packs, catalog.trash)):
            return name
    return _home(catalog, sha256, nbytes)


def needed_at_first(collector: Collector) -> set[str]:
    known = getattr(collector._layout, "_needed_at_first", None)
    if known is None:
        known = collector._layout._needed_at_first = _needed(collector)  # type: ignore[attr-defined]
    return set(known)


MUTANTS = {
    "no intent is announced": (Intents, "announced", unannounced),
    "the collector does not wait": (Collector, "_all_ended", waits_for_nobody),
    "trash counts as present": (Catalog, "home", home_in_trash),
    "manifests are not read again": (Collector, "_needed", needed_at_first),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_without_one_step_of_the_protocol_a_tensor_is_lost(
    mutant: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*MUTANTS[mutant])
    with pytest.raises((CheckpointEngineError, AssertionError)) as lost:
        run_all(folder, CASES["a save and the pack it needs"], SCHEDULES * 4, seed=9)
    assert "is gone, and" in str(lost.value)
