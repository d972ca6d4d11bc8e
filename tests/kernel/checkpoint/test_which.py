"""Short words for checkpoints, and where they look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.checkpoint.which import Scope, checked_mode, resolve
from model_checkpoint.errors import CheckpointNotFoundError, ConfigurationError, MetricError
from model_checkpoint.kernel import Kernel


def save(kernel: Kernel, experiment: str, **options: Any) -> str:
    """Save one checkpoint in a run of its own."""
    with kernel.run(experiment):
        return kernel.save({"a": 1}, **options)


def found(kernel: Kernel, which: str, **scope: Any) -> str:
    return resolve(kernel.records, which, Scope(**scope)).id


def test_words_look_in_one_run_in_one_experiment_or_everywhere(memory_kernel: Kernel) -> None:
    first = save(memory_kernel, "digits", val_loss=0.3, tags=["x"])
    second = save(memory_kernel, "digits", val_loss=0.2)
    third = save(memory_kernel, "words", val_loss=0.1, tags={"x": "1"})
    run = memory_kernel.records.get_checkpoint(first)
    assert run is not None
    for scope, expected in (
        ({"run_id": run.run_id}, (first, first, first)),
        ({"experiment_id": run.experiment_id}, (second, second, first)),
        ({}, (third, third, third)),
    ):
        assert tuple(found(memory_kernel, word, **scope) for word in ("latest", "best", "tag:x")) == expected


def test_an_id_is_known_everywhere(memory_kernel: Kernel) -> None:
    first, second = save(memory_kernel, "digits"), save(memory_kernel, "words")
    run = memory_kernel.records.get_checkpoint(second)
    assert run is not None
    assert found(memory_kernel, first, run_id=run.run_id) == first


def test_the_direction_of_a_metric_may_be_stated_in_the_word_by_the_user_or_by_its_name(memory_kernel: Kernel) -> None:
    with memory_kernel.run("digits"):
        low = memory_kernel.save({"a": 1}, metrics={"zeta": 1.0, "val:loss": 2.0, "acc": 0.1})
        high = memory_kernel.save({"a": 1}, metrics={"zeta": 2.0, "val:loss": 1.0, "acc": 0.2})
    assert found(memory_kernel, "best:zeta:min") == low
    assert found(memory_kernel, "best:zeta:max") == high
    assert found(memory_kernel, "best:acc") == high
    assert found(memory_kernel, "best:acc:min") == low
    assert found(memory_kernel, "best:zeta", metric_modes={"zeta": "max"}) == high
    assert found(memory_kernel, "best:acc", metric_modes={"acc": "min"}) == low
    assert found(memory_kernel, "best:val:loss:max") == low
    with pytest.raises(
        MetricError, match="'zeta' is better cannot be told from its name: say mode='min' or mode='max'"
    ):
        found(memory_kernel, "best:zeta")


def test_a_mode_is_min_max_or_inferred() -> None:
    assert [checked_mode("zeta", "min"), checked_mode("loss", "max"), checked_mode("loss", None)] == [
        "min",
        "max",
        "min",
    ]
    with pytest.raises(MetricError, match="mode='lowest' is neither 'min' nor 'max'"):
        checked_mode("loss", "lowest")


@pytest.mark.parametrize("which", [None, 3, b"latest", ["latest"]])
def test_what_is_no_word_at_all_is_refused(memory_kernel: Kernel, which: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="names no checkpoint: give an id, an alias, 'latest', 'best:<metric>'"
    ):
        found(memory_kernel, which)


@pytest.mark.parametrize(
    "which", ["latest", "best", "best:acc", "tag:x", "tag:", "some-id", "latest:1", "", "../x", "a\0"]
)
def test_where_nothing_was_saved_the_error_says_so(memory_kernel: Kernel, which: str) -> None:
    with pytest.raises(CheckpointNotFoundError, match="nothing was saved in this record store yet"):
        found(memory_kernel, which)


def test_what_is_not_found_is_answered_with_what_there_is(memory_kernel: Kernel) -> None:
    saved = [save(memory_kernel, "digits", epoch=n) for n in range(3)]
    memory_kernel.records.mark_damaged(saved[0], "a byte differs")
    with pytest.raises(CheckpointNotFoundError) as missed:
        found(memory_kernel, saved[1] + "x")
    assert str(missed.value) == (
        f"no checkpoint '{saved[1]}x' in this record store. Did you mean '{saved[1]}'? There are 3 (1 of them damaged);"
        f" the newest is '{saved[2]}'. Ask for an id, an alias, 'latest', 'best:<metric>' or 'tag:<tag>'"
    )
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint 'tag:no' in here"):
        found(memory_kernel, "tag:no", name="here")


def test_a_damaged_checkpoint_is_found_by_its_id_alone(memory_kernel: Kernel) -> None:
    good, bad = save(memory_kernel, "d", val_loss=0.2, tags=["x"]), save(memory_kernel, "d", val_loss=0.1, tags=["x"])
    memory_kernel.records.mark_damaged(bad, "a byte differs")
    assert {found(memory_kernel, word) for word in ("latest", "best", "tag:x")} == {good}
    assert found(memory_kernel, bad) == bad


def test_a_process_looks_in_its_own_run_also_after_its_end(memory_kernel: Kernel) -> None:
    other = save(memory_kernel, "words", val_loss=0.1)
    own = save(memory_kernel, "digits", val_loss=0.2)
    assert memory_kernel.checkpoint("latest").id == memory_kernel.checkpoint("best").id == own
    assert [record.id for record in memory_kernel.checkpoints()] == [own]
    best = memory_kernel.best(all_runs=True)
    assert best is not None
    assert best.id == other


def test_before_its_run_begins_it_looks_where_it_means_to_work(memory_kernel: Kernel) -> None:
    first, second, third = (
        save(memory_kernel, name, val_loss=n) for n, name in enumerate(["digits", "digits", "words"])
    )
    memory_kernel._session = None
    seen = []
    plans: list[dict[str, str]] = [
        {"experiment": "digits"}, {"experiment": "digits", "run": "digits-1"}, {"experiment": "other"},
        {"run": "other"}, {},
    ]  # fmt: skip
    for plan in plans:
        memory_kernel.plan_run(**plan)
        seen.append([record.id for record in memory_kernel.checkpoints()])
    assert seen == [[second, first], [first], [], [], [third, second, first]]
    memory_kernel.plan_run(experiment="other")
    with pytest.raises(CheckpointNotFoundError, match="nothing was saved in experiment 'other' yet"):
        memory_kernel.load("latest")
    memory_kernel.plan_run(run="other")
    with pytest.raises(CheckpointNotFoundError, match="nothing was saved in run 'other' yet"):
        memory_kernel.load("latest")


def test_a_misspelt_metric_offers_the_nearest_and_not_a_mode(tmp_path: Path) -> None:
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", quiet=True) as kernel:
        kernel.save({"a": 1}, val_loss=0.5)
        for word in ("best:val_los", "best:val_losss"):
            with pytest.raises(CheckpointNotFoundError, match=r"have only val_loss.* Did you mean 'best:val_loss'"):
                kernel.load(word)
