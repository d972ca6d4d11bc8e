"""Two trainings save into one vault while a collector and a scrubber run, and each is killed at random moments.

Nothing that was acknowledged is lost, and nothing is left over in the end. ``MCE_FULL=1`` takes five minutes.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import runpy
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from model_checkpoint.kernel import Kernel

pytest.importorskip("torch", reason="missing: pip install 'model-checkpoint-engine[torch]'")

SECONDS = 300.0 if os.environ.get("MCE_FULL") == "1" else 15.0
LONGEST_LIFE, SHORTEST_DIARY = 60, 60
"""In lines: on a busy machine all get on more slowly, and are killed more seldom."""
STUCK_S = 90.0
ROLES = {"first": "training", "second": "training", "collector": "collector", "scrubber": "scrubber"}
TRAININGS = [name for name, role in ROLES.items() if role == "training"]
Worker = runpy.run_path(str(Path(__file__).with_name("training_worker.py")))
places, fingerprint = Worker["places"], Worker["fingerprint"]
untidy = runpy.run_path(str(Path(__file__).with_name("tidy.py")))["untidy"]


@dataclass
class Supervisor:
    """Starts each process again when it was killed; one that ends by itself, before it is told to, has failed."""

    folder: Path
    chosen: random.Random
    worker: Callable[..., None]
    processes: dict[str, BaseProcess] = field(default_factory=dict)
    lives_until: dict[str, int] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Import what is slow to import once, in a process that does nothing else: all others are forked from it."""
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["pytest", "torch", "torch._dynamo", "model_checkpoint.engine"])

    def diary(self, name: str) -> list[list[str]]:
        """Return what a process and those before it in its place wrote, in words."""
        return [line.split(" ") for line in (self.folder / name).read_text().splitlines()]

    def start(self, name: str) -> None:
        """Start a process."""
        self.lives_until[name] = self.lines(name) + self.chosen.randrange(LONGEST_LIFE)
        arguments = (self.folder, ROLES[name], name, self.chosen.randrange(10**6))
        self.processes[name] = self.context.Process(target=self.worker, args=arguments)
        self.processes[name].start()

    def kill(self, name: str) -> None:
        """Kill a process and start the next one in its place."""
        self.processes[name].kill()
        self.see_end(name, -signal.SIGKILL)
        self.kills[name] += 1
        self.start(name)

    def see_end(self, name: str, expected: int) -> None:
        """Wait for a process; raise what it said unless it ended as expected."""
        process = self.processes[name]
        process.join(STUCK_S)
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGABRT)
            process.join(30)
        if process.exitcode != expected:
            errors = self.folder / f"{name}.errors"
            said = errors.read_text()[-9000:] if errors.exists() else "(nothing)"
            pytest.fail(f"{name} ended with {process.exitcode} and said:\n{said}")

    def lines(self, name: str) -> int:
        """Return how long a diary is."""
        path = self.folder / name
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def go_on(self, seconds: float) -> None:
        """Kill one after another for that long, and until each has done something and died twice; then end all."""
        began = since = time.monotonic()
        heard, now = 0, dict.fromkeys(ROLES, 0)
        for name in ROLES:
            self.start(name)
        while (
            time.monotonic() - began < seconds
            or min(self.kills[name] for name in ROLES) < 2
            or min(now.values()) < SHORTEST_DIARY
        ):
            time.sleep(self.chosen.random() * 0.1)
            for name, process in self.processes.items():
                if process.exitcode is not None:
                    self.see_end(name, 0)
                    pytest.fail(f"{name} ended before it was told to")
            now = {name: self.lines(name) for name in ROLES}
            if sum(now.values()) > heard:
                heard, since = sum(now.values()), time.monotonic()
            assert time.monotonic() - since < STUCK_S, f"nobody gets on: {now}"
            for name in ROLES:
                if now[name] >= self.lives_until[name]:
                    time.sleep(self.chosen.random() * 0.03)  # in the midst of what comes after that line
                    self.kill(name)
        (self.folder / "stop").touch()
        for name in ROLES:
            self.see_end(name, 0)

    def end(self) -> None:
        """Leave no process behind."""
        for process in self.processes.values():
            process.kill()
            process.join(30)


WORDS = ("deleting", "deleted", "pinned", "unpinning", "tagged", "damaged", "missing")


@dataclass
class Story:
    """What the trainings said of their checkpoints: what is acknowledged must hold."""

    saved: dict[str, str] = field(default_factory=dict)
    """By id, the digest of its state."""
    states: dict[tuple[str, int], str] = field(default_factory=dict)
    """The digest of the state at each step of each run."""
    said: dict[str, set[str]] = field(default_factory=lambda: {word: set() for word in WORDS})
    counts: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    nbytes_freed: int = 0

    def hear(self, run: str, lines: list[list[str]]) -> None:
        """Take in a diary, and see that a training resumed from its last acknowledged checkpoint or a later one."""
        last: tuple[str, int] | None = None
        for word, *rest in lines:
            self.counts[word] += 1
            if word == "resumed":
                checkpoint_id, step, digest = rest[0], int(rest[1]), rest[2]
                is_lost = last is not None and (checkpoint_id == "None" or step < last[1])
                assert not is_lost, f"{run} went on from {checkpoint_id}, after {last} was acknowledged"
                assert checkpoint_id not in self.saved or (last and checkpoint_id == last[0])
                assert digest == self.states.setdefault((run, step), digest), f"{run} resumed with another state"
            elif word == "saved":
                checkpoint_id, step, digest = rest[0], int(rest[1]), rest[2]
                self.saved[checkpoint_id], last = digest, (checkpoint_id, step)
                assert digest == self.states.setdefault((run, step), digest), f"{run} went another way to step {step}"
            elif word == "collected":
                self.removed += int(rest[0])
                self.nbytes_freed += int(rest[1])
            elif word in WORDS:
                self.said[word].add(rest[0])


def see_that_nobody_complained(supervisor: Supervisor, story: Story) -> None:
    """All did their work, and a scrubber met no damage: at most a deletion that was under way or had broken off."""
    for name in ROLES:
        story.hear(name, supervisor.diary(name))
    assert min(story.counts[word] for word in ("resumed", "saved", "deleted", "collected", "scrubbed")) > 0
    assert story.said["damaged"] == set()
    assert story.said["missing"] <= story.said["deleting"]


def see_that_records_and_storage_agree(kernel: Kernel, story: Story, kills: int) -> None:
    """They differ by what kills broke off, at most one save and one deletion each; both can be brought to an end."""
    report = kernel.check_store()
    assert report.damaged == {}
    assert set(report.missing) <= story.said["deleting"] - story.said["deleted"]
    assert not set(report.unrecorded) & story.saved.keys()
    assert len(report.missing) + len(report.unrecorded) <= kills
    print(f"broken off: {len(report.missing)} deletions, {len(report.unrecorded)} saves", end="; ")
    for checkpoint_id in report.missing:
        kernel.delete(checkpoint_id)
    rebuilt = kernel.rebuild()
    assert set(rebuilt.recorded) == set(report.unrecorded)
    assert rebuilt.unreadable == {}
    assert kernel.check_store().ok


def see_that_all_is_there(kernel: Kernel, story: Story) -> None:
    """What was acknowledged and not deleted is there with every byte; so is what nobody came to acknowledge."""
    records, said = {record.id: record for record in kernel.records.list_checkpoints()}, story.said
    assert story.saved.keys() - said["deleting"] <= records.keys()
    assert not said["deleted"] & records.keys()
    assert said["pinned"] - said["unpinning"] <= {each.id for each in records.values() if each.pinned}
    assert said["tagged"] & records.keys() <= {each.id for each in records.values() if each.tags["mood"] == "good"}
    for record in records.values():
        found = kernel.load(record.id, verify="full")
        states = {name: dict(found[name]) for name in ("model", "optimizer", "progress")}
        states["optimizer"].pop("parameters", None)  # what is stored beside the state dict: gradients, what is frozen
        digest = fingerprint(states)
        known = story.states.setdefault((record.run_name, int(record.step or 0)), digest)
        assert digest == story.saved.get(record.id, known), f"{record.id} is not what was saved"


def see_that_nothing_is_left(checkpoints: Path, stored: set[str]) -> None:
    """Nothing but what a checkpoint needs: no pack, temporary file, intent, mark or trash."""
    vault = checkpoints / "vault"
    assert [problem for problem in untidy(vault) if not problem.startswith("marks/")] == []
    assert {path.name.rsplit(".", 2)[0] for path in vault.glob("marks/*")} <= stored
    assert [path for path in (vault / "tmp").iterdir() if path.name != "claims"] == []
    assert list((checkpoints / "runs").rglob("*.tmp")) == []


def summary(supervisor: Supervisor, story: Story) -> str:
    """Return what happened, in numbers."""
    kills = ", ".join(f"{name} {count}" for name, count in supervisor.kills.items())
    counts = ", ".join(f"{word} {count}" for word, count in sorted(story.counts.items()))
    return f"kills: {kills}; {counts}; {story.removed} files and {story.nbytes_freed / 1e6:.1f} MB cleaned up"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_and_nothing_is_leaked_whoever_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # the processes look for their own module there
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    worker = importlib.import_module("training_worker").main
    seed = int(os.environ.get("MCE_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: MCE_SEED={seed} repeats the choices of this run, not its timing")
    supervisor, story = Supervisor(tmp_path, random.Random(seed), worker), Story()
    try:
        supervisor.go_on(SECONDS)
    finally:
        supervisor.end()
    see_that_nobody_complained(supervisor, story)
    with Kernel.open(**places(tmp_path)) as kernel:
        see_that_records_and_storage_agree(kernel, story, sum(supervisor.kills[name] for name in TRAININGS))
        see_that_all_is_there(kernel, story)
        for _ in range(3):  # the first may put a pack back that was left in trash, and the next one sees what is double
            kernel.collect()
        (info,) = kernel.store_info()
        assert kernel.check_store().ok
        stored = {record.id for record in kernel.records.list_checkpoints()}
    see_that_nothing_is_left(tmp_path / "checkpoints", stored)
    print(summary(supervisor, story), f"{info.nbytes_on_disk / 1e6:.1f} MB on disk, {info.dedup_ratio:.1f} x", sep="; ")
