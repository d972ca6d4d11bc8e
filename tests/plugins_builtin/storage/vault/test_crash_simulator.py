"""The power is cut after any step of any change to a vault, and the disk keeps any part of what was not synced.

The shipped code runs once on a disk that remembers every change. From its journal come the states in which a power cut
may leave the disk; the shipped code opens each of them and must find everything that was acknowledged. And the syncs
are needed: without one of those that `SYNCS` names, some state breaks a promise.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import runpy
import shutil
import struct
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from model_checkpoint.errors import CheckpointEngineError
from model_checkpoint.storage.vault.collect import Collector

Scenarios = runpy.run_path(str(Path(__file__).with_name("crash_scenarios.py")))
SCENARIOS, INDEX, VAULT = (Scenarios[name] for name in ("SCENARIOS", "INDEX", "VAULT"))
record, check, rebuild = (Scenarios[name] for name in ("record", "check", "rebuild"))
SEED = int(os.environ.get("MCE_SEED", "1"))
QUICK_STATES = 120
FULL_STATES = int(os.environ.get("MCE_CRASH_STATES", "100000"))
"""How many are wanted of each scenario. Of the shorter ones there are only some thousands, and all are tried."""
MUTANT_STATES = 1000
"""How many states are tried at most before a sync counts as one that nobody needs. Most take a few dozen."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a collection wait for no save any longer than a save takes here."""
    monkeypatch.setattr(Collector.__init__, "__defaults__", (0.02,))


@dataclass
class Outcome:
    """What a search found."""

    states: int = 0
    """Distinct trees, whatever the index beside them."""
    is_complete: bool = False
    """Whether there are no more."""
    violations: list[str] = field(default_factory=list)


@dataclass
class Search:
    """States of the disk in one scenario, each once, and whether they keep every promise."""

    scenario: str
    folder: Path
    most: int
    renames: str = "whole"
    strict: bool = True
    skip: Any = None
    share: tuple[int, int] = (0, 1)
    """Which of how many searches for the same states this one is: each checks its part of them."""
    stop_at: int = 20
    """How many violations are enough."""

    def run(self) -> Outcome:
        """Search."""
        outcome, chosen = Outcome(), Random(f"{SEED} {self.scenario}")
        acts = [record(self.scenario, self.folder / "acted", pause=pause, skip=self.skip) for pause in (True, False)]
        moments = [(act, moment) for act in acts for moment in act.disk.moments()[act.begun - 1 :]]
        trees, seen = set[int](), set[tuple[int, int]]()
        number, mine = self.share
        for act, moment, tree in self._states(moments, chosen):
            shape = hash(frozenset(tree.items()))
            trees.add(shape)
            if (shape, len(moment.said)) in seen:
                continue
            seen.add((shape, len(moment.said)))
            index = chosen.choice([b"", b"", *act.indexes, act.indexes[-1][:5000]])
            if len(seen) % mine == number:
                problem = self._problem(tree, index, moment)
                outcome.violations += [problem] if problem else []
            outcome.states = len(trees)
            if outcome.states >= self.most or len(outcome.violations) >= self.stop_at:
                return outcome
        outcome.is_complete = True
        return outcome

    def _states(self, moments: list[Any], chosen: Random) -> Iterator[tuple[Any, Any, Any]]:
        """Yield states of all moments in turn, in rounds that take more of each; end where a round cannot be new."""
        most, left = 1, [(act, moment, moment.count()) for act, moment in moments]
        while left:
            chosen.shuffle(left)
            for act, moment, _ in left:
                for tree in moment.trees(chosen, most, self.renames):
                    yield act, moment, tree
            left = [each for each in left if each[2] > most]
            most *= 2

    def _problem(self, tree: Any, index: bytes, moment: Any) -> str:
        """Return what is wrong with one state, or nothing."""
        left = self.folder / "left"
        shutil.rmtree(left, ignore_errors=True)
        rebuild({**tree, INDEX: (-1, index)} if index and VAULT in tree else tree, left)
        try:
            check(left / VAULT, moment.said, strict=self.strict)
        except (AssertionError, CheckpointEngineError, OSError, ValueError, struct.error) as error:
            last = "".join(traceback.format_exception(error)[-3:])
            what = ", ".join(f"{path} ({len(file[1])} bytes)" for path, file in tree.items() if file is not None)
            what += f"; an index of {len(index)} bytes"
            return f"after step {moment.number}, {moment.text!r}: {last}\n  left: {what}"
        return ""


def search(scenario: str, folder: Path, most: int, **options: Any) -> Outcome:
    """Search for states of a scenario that break a promise."""
    return Search(scenario, folder, most, **options).run()


def search_on_all_cores(scenario: str, folder: Path, most: int, renames: str) -> Outcome:
    """The same, by several processes."""
    parts = [(number, os.cpu_count() or 1) for number in range(os.cpu_count() or 1)]
    with multiprocessing.get_context("fork").Pool(len(parts)) as pool:
        outcomes = pool.map(_search_part, [(scenario, str(folder), most, renames, part) for part in parts])
    violations = [violation for outcome in outcomes for violation in outcome[2]]
    return Outcome(outcomes[0][0], outcomes[0][1], violations)


def _search_part(what: tuple[str, str, int, str, tuple[int, int]]) -> tuple[int, bool, list[str]]:
    scenario, folder, most, renames, part = what
    own = Path(folder, str(part[0]))
    own.mkdir()
    outcome = search(scenario, own, most, renames=renames, strict=renames == "whole", share=part)
    return outcome.states, outcome.is_complete, outcome.violations


@dataclass(frozen=True)
class Sync:
    """One sync of one scenario, to be left out."""

    scenario: str
    call: str
    before: str = ".*"
    """What the same process did before it."""
    renames: str = "whole"

    def is_it(self, call: str, before: str) -> bool:
        return bool(re.fullmatch(self.call, call) and re.fullmatch(self.before, before))


SYNCS = {
    "content of a new pack": Sync("save of new content", r"sync_file .*\.pack"),
    "name of a new pack": Sync("save of new content", "sync_dir vault/packs"),
    "name of another's new pack": Sync(
        "save that relies on a new pack", "sync_dir vault/packs", "create .*/intents/.*"
    ),
    "content of a manifest": Sync("save of known content", r"sync_file .*\.new\.json"),
    "name of a manifest": Sync("save of known content", "sync_dir vault/manifests"),
    "content of FORMAT": Sync("first save", r"sync_file .*\.FORMAT"),
    "name of the vault and of what is in it": Sync("first save", r"sync_dir (vault|\.)"),
    "name of another's vault": Sync("first save in a folder of another", r"sync_dir \.", "sync_dir vault"),
    "name that is forgotten": Sync("forget", "sync_dir vault/manifests", renames="kept"),
    "folder of what is forgotten": Sync("forget", "sync_dir vault/trash"),
    "name that is restored": Sync("restore", "sync_dir vault/manifests"),
    "content of a rewritten pack": Sync("collect and rewrite a pack", r"sync_file .*\.repack"),
    "names of packs that are rewritten": Sync("collect and rewrite a pack", "sync_dir vault/packs"),
    "name in trash": Sync("collect during a save", "sync_dir vault/trash", "rename vault/packs/.*", renames="kept"),
}
"""Every sync that a promise depends on."""


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_power_cut_after_any_step_breaks_no_promise(scenario: str, folder: Path) -> None:
    outcome = search(scenario, folder, QUICK_STATES)
    assert outcome.violations == []
    assert outcome.states >= QUICK_STATES or outcome.is_complete


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_where_a_rename_may_come_in_halves_nothing_is_lost_either(scenario: str, folder: Path) -> None:
    """Such disks have no journal. What was forgotten may not come back there, and being tidy takes two collections."""
    outcome = search(scenario, folder, QUICK_STATES // 2, renames="kept", strict=False)
    assert outcome.violations == []


@pytest.mark.full
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("renames", ["whole", "kept"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_power_cut_in_any_of_very_many_ways_breaks_no_promise(scenario: str, renames: str, folder: Path) -> None:
    """Half of the states for each kind of disk."""
    outcome = search_on_all_cores(scenario, folder, FULL_STATES // 2, renames)
    print(f"{scenario}, renames {renames}: {outcome.states} states{', all there are' * outcome.is_complete}")
    assert outcome.violations == []
    assert outcome.states >= FULL_STATES // 2 or outcome.is_complete


@pytest.mark.parametrize("sync", SYNCS)
def test_without_a_single_sync_a_promise_is_broken(sync: str, folder: Path) -> None:
    without, left_out = SYNCS[sync], list[str]()

    def skip(call: str, before: str) -> bool:
        is_it = without.is_it(call, before)
        left_out.extend([call] * is_it)
        return is_it

    strict = without.renames == "whole"
    outcome = search(
        without.scenario, folder, MUTANT_STATES, renames=without.renames, strict=strict, skip=skip, stop_at=1
    )
    assert left_out, "there is no such sync"
    assert outcome.violations, f"{outcome.states} states, and nothing is missed"
    print(f"{outcome.states} states until: {outcome.violations[0]}")
