"""What the kit for record stores is made of: awkward values, ready records, and work for threads and processes."""

from __future__ import annotations

import math
import multiprocessing
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from model_checkpoint.contracts import BestFlag, CheckpointRecord, RecordStore, RunRecord
from model_checkpoint.errors import StaleGenerationError

Opener = Callable[[str], RecordStore]
F = TypeVar("F", bound=Callable[..., object])

NUMBERS: Mapping[str, float] = {
    "nan": math.nan,
    "plus infinity": math.inf,
    "minus infinity": -math.inf,
    "minus zero": -0.0,
    "subnormal": 5e-324,
    "tenth": 0.1,
    "largest": 1.7976931348623157e308,
    "odd": 2**53 + 1,
    "below": -(2**63) - 1,
    "huge": 10**400,
}
TEXTS = (
    "plain",
    "val/acc top-1",
    "Größe 温度 🦜",
    "quotes ' \" ` \\ ; --",
    "new\nline\ttab",
    "nul\0inside",
    "lone \ud800 surrogate",
    "\ud83d\ude00 as two halves",
    "\x1a0000",
    "%_*?[",
    " spaces ",
    "",
)


def rule(number: int) -> Callable[[F], F]:
    """Note which rule of the contract a test is about."""

    def note(test: F) -> F:
        test.rule = number  # type: ignore[attr-defined]
        return test

    return note


def new_run(
    store: RecordStore, *, config: Mapping[str, float] | None = None, tags: Mapping[str, str] | None = None
) -> RunRecord:
    """Create a run of the experiment ``digits``."""
    return store.create_run(store.ensure_experiment("digits").id, config=dict(config or {}), tags=tags)


def a_record(run: RunRecord, checkpoint_id: str, **fields: object) -> CheckpointRecord:
    """Return a record with every field set that `fields` leaves open."""
    values: dict[str, object] = {
        "created_at_s": 100.0,
        "backend": "memory",
        "digest": "00" * 32,
        "nbytes": 8,
        "nbytes_written": 10,
        "duration_s": 0.25,
        "epoch": 1,
        "step": 10,
        "parent_id": "earlier",
    }
    owner = {"run_id": run.id, "run_name": run.name, "experiment_id": run.experiment_id}
    return CheckpointRecord(id=checkpoint_id, **(values | owner | fields))  # type: ignore[arg-type]


def commit(
    store: RecordStore, run: RunRecord, checkpoint_id: str, *, best: bool = False, **fields: object
) -> CheckpointRecord:
    """Commit a record at the run's present generation; with `best` it takes the flag of each of its metrics."""
    record = a_record(run, checkpoint_id, **fields)
    flags = [BestFlag(run.id, name, "min", checkpoint_id, value) for name, value in record.metrics.items() if best]
    return store.commit_checkpoint(record, best=flags, expected_generation=generation(store, run))


def commit_with_patience(store: RecordStore, run: RunRecord, checkpoint_id: str) -> None:
    """Commit, and try again for as long as others commit in between: one of all who try always gets through."""
    while True:
        try:
            commit(store, run, checkpoint_id)
        except StaleGenerationError:
            continue
        return


def generation(store: RecordStore, run: RunRecord) -> int:
    """Return the run's present generation."""
    found = store.get_run(run.id)
    assert found is not None
    return found.generation


def ids(records: list[CheckpointRecord]) -> list[str]:
    """Return the ids in the order of `records`."""
    return [record.id for record in records]


def described(number: float) -> tuple[bool, object, float]:
    """Return `number` as something that is equal only to an equal one: with its sign if it is zero, NaN like NaN."""
    if number != number:
        return True, "nan", 0.0
    return False, number, math.copysign(1.0, number) if number == 0 else 0.0


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run ``work(0) ... work(count - 1)`` at once and raise what any of them raised."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # handed to the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def in_processes(start_method: str, count: int, work: Callable[..., None], *arguments: object) -> None:
    """Run ``work(0, barrier, *arguments) ...`` in `count` processes and see each of them end well."""
    context = multiprocessing.get_context(start_method)
    start = context.Barrier(count)
    children = [
        context.Process(target=work, args=(number, start, *arguments))  # type: ignore[attr-defined]
        for number in range(count)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * count


def ensure_experiment(number: int, start: threading.Barrier, open_store: Opener, url: str) -> None:
    """Work for `in_processes`: open the store and ask for the experiment."""
    start.wait(60)
    store = open_store(url)
    store.ensure_experiment("digits")
    store.close()


def create_runs(number: int, start: threading.Barrier, open_store: Opener, url: str, count: int) -> None:
    """Work for `in_processes`: create runs without a name."""
    start.wait(60)
    store = open_store(url)
    for _ in range(count):
        store.create_run(store.ensure_experiment("digits").id)
    store.close()


def commit_many(
    number: int, start: threading.Barrier, open_store: Opener, url: str, run: RunRecord, count: int
) -> None:
    """Work for `in_processes`: commit checkpoints to one run."""
    start.wait(60)
    store = open_store(url)
    for index in range(count):
        commit_with_patience(store, run, f"c{number}-{index}")
    store.close()
