"""Writers, collectors and readers use one vault at once, and are killed at any moment; nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.storage.vault.plugin import open_vault

IN_FULL = os.environ.get("MCE_FULL") == "1"
WORKER = Path(__file__).with_name("soak_worker.py")
Tidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))
reads, untidy = Tidy["reads"], Tidy["untidy"]
STUCK_S = 60.0


@dataclass
class Crowd:
    """The processes, each in a place that is filled again when it dies."""

    root: Path
    said: Path
    saves: int
    chosen: random.Random
    places: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    rounds: int = 0
    kills: int = 0

    def fill(self, place: str) -> None:
        """Start a process in a place."""
        role, self.rounds = place.partition("-")[0], self.rounds + 1
        name = f"{place}-{self.rounds}"
        arguments = [str(self.root), role, name, str(self.saves), str(self.chosen.randrange(10**6))]
        with self.said.open("ab") as output:
            self.places[place] = subprocess.Popen([sys.executable, str(WORKER), *arguments], stdout=output)

    def kill(self, place: str) -> None:
        """Kill who is in a place, and wait until it is gone."""
        self.places[place].send_signal(signal.SIGKILL)
        self.kills += self.places[place].wait(30) == -signal.SIGKILL

    def lines(self) -> list[list[str]]:
        """Return what everybody said, in words."""
        return [line.split(" ") for line in self.said.read_text().splitlines()]

    def acknowledged(self) -> int:
        return sum(words[0] == "written" for words in self.lines())


def soak(crowd: Crowd, roles: dict[str, int], until: int, longest_s: float) -> None:
    """Let all of them work, and die now and then, until so many saves are acknowledged or the time is over."""
    crowd.said.touch()
    for role, count in roles.items():
        for number in range(count):
            crowd.fill(f"{role}-{number}")
    heard, since = 0, time.monotonic()
    deadline = since + longest_s
    try:
        while (done := crowd.acknowledged()) < until and time.monotonic() < deadline:
            if len(crowd.lines()) > heard:
                heard, since = len(crowd.lines()), time.monotonic()
            assert time.monotonic() - since < STUCK_S, "nobody gets on"
            assert not (bad := [words for words in crowd.lines() if words[0] == "bad"]), bad[:5]
            time.sleep(0.1 + crowd.chosen.random() * 0.5)
            place = crowd.chosen.choice([*crowd.places])
            if done and not place.startswith("reader"):
                crowd.kill(place)
            for other, process in [*crowd.places.items()]:
                if process.poll() is not None:
                    crowd.fill(other)
    finally:
        for place in crowd.places:
            crowd.kill(place)


def check(crowd: Crowd) -> None:
    """See that all that was acknowledged is there, every content once, and nothing else."""
    lines = crowd.lines()
    assert not (bad := [words for words in lines if words[0] == "bad"]), bad[:5]
    written = {words[1]: words[2] for words in lines if words[0] == "written"}
    forgetting = {words[1] for words in lines if words[0] == "forgetting"}
    store = open_vault(crowd.root, FsOps())
    for _ in range(3):
        present = set(store.list_ids())
        assert written.keys() - forgetting <= present
        assert len(present - written.keys()) <= crowd.kills, "each of the killed had at most one it could not speak of"
        assert all(store.verify(name, depth="full").ok for name in present)
        assert all(reads(store, name, written[name]) for name in present & written.keys())
        store.collect()  # the first may put a pack back that was left in trash, and the next one sees what is double
    store.close()
    assert untidy(crowd.root) == []
    assert {"written", "forgetting", "collected", "read"} <= {words[0] for words in lines}
    assert crowd.kills > 3
    print(f"{len(written)} saves, {crowd.kills} kills, {sum(words[0] == 'collected' for words in lines)} collections")


def crowd_of(folder: Path, saves: int) -> Crowd:
    seed = int(os.environ.get("MCE_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: MCE_SEED={seed} repeats the choices of this run, not its timing")
    return Crowd(folder / "store", folder / "said", saves, random.Random(seed))


def test_four_processes_use_one_vault_and_die_now_and_then(folder: Path) -> None:
    crowd = crowd_of(folder, saves=200)
    soak(crowd, {"writer": 2, "collector": 1, "reader": 1}, until=3000, longest_s=14.0)
    check(crowd)


@pytest.mark.full
def test_twelve_processes_use_one_vault_and_die_now_and_then(folder: Path) -> None:
    crowd = crowd_of(folder, saves=200)
    soak(crowd, {"writer": 8, "collector": 2, "reader": 2}, until=20_000, longest_s=200.0)
    check(crowd)
