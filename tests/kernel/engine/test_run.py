"""The front door for training scripts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import model_checkpoint.engine as mc
from model_checkpoint.contracts import RunStatus
from model_checkpoint.errors import (
    ConfigurationError,
    InvalidNameError,
    KernelClosedError,
    KernelError,
    OperationVetoed,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel, hookimpl


def started(folder: Path, experiment: str = "digits", **options: Any) -> mc.Run:
    return mc.start(
        experiment, database_url=f"sqlite:///{folder}/e.db", storage_backend="memory", quiet=True, **options
    )


@pytest.fixture
def run(tmp_path: Path) -> Iterator[mc.Run]:
    with started(tmp_path) as run:
        yield run


def runs(run: mc.Run) -> dict[str, RunStatus]:
    return {record.name: record.status for record in run.kernel.records.list_runs()}


def test_nothing_begins_before_it_is_used(run: mc.Run) -> None:
    assert runs(run) == {}
    assert run.checkpoints() == []
    assert run.best() is None
    assert run.metrics() == {}
    assert runs(run) == {}


@pytest.mark.parametrize("use", ["log", "save", "resume", "name"])
def test_any_use_begins_the_run_of_its_experiment_with_config_and_tags(tmp_path: Path, use: str) -> None:
    with started(tmp_path, config={"lr": 0.1}, tags=["dev"]) as run:
        {
            "log": lambda: run.log(loss=1.0),
            "save": lambda: run.save(a=1),
            "resume": lambda: run.resume(a={}),
            "name": lambda: run.name,
        }[use]()
        record = run.kernel.records.get_run("digits-1")
        assert record is not None
        assert (record.config, record.tags, run.name) == ({"lr": 0.1}, {"dev": ""}, "digits-1")


def test_the_remembered_objects_are_saved_and_may_be_replaced(run: mc.Run) -> None:
    run.resume(a={"n": 1}, b={"n": 2})
    first = run.save()
    run.save(b={"n": 3}, c=[4])
    assert dict(run.load(str(first))) == {"a": {"n": 1}, "b": {"n": 2}}
    assert dict(run.load("latest")) == {"a": {"n": 1}, "b": {"n": 3}, "c": [4]}
    run.save()
    assert dict(run.load("latest")) == {"a": {"n": 1}, "b": {"n": 3}, "c": [4]}


def test_checkpoints_come_oldest_first_and_the_best_by_any_metric(run: mc.Run) -> None:
    saved = [run.save(a=1, metrics={"val_loss": value, "acc": value}) for value in (0.2, 0.1, 0.3)]
    assert [record.id for record in run.checkpoints()] == saved
    best = [run.best(), run.best("acc"), run.best("acc", "min"), run.best("mae")]
    assert [record and record.id for record in best] == [saved[1], saved[2], saved[1], None]


def test_metrics_are_logged_by_name_or_as_a_mapping(run: mc.Run) -> None:
    run.log({"step": 1.0, "epoch": 2.0}, step=3, train_loss=0.5)
    assert {name: (each.last, each.last_step) for name, each in run.metrics().items()} == {
        "step": (1.0, 3), "epoch": (2.0, 3), "train_loss": (0.5, 3),
    }  # fmt: skip


@pytest.mark.parametrize("objects", [{}, {"model": None}, {"model": None, "optimizer": None}])
def test_resuming_nothing_says_what_to_give(run: mc.Run, objects: dict[str, None]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"give resume\(\) the objects of the training: model=..., optimizer=..."
    ):
        run.resume(**objects)


@pytest.mark.parametrize("use", ["log", "save", "name"])
def test_resuming_comes_first(run: mc.Run, use: str) -> None:
    {"log": lambda: run.log(loss=1.0), "save": lambda: run.save(a=1), "name": lambda: run.name}[use]()
    with pytest.raises(KernelError, match=r"call resume\(\) before the first save\(\) or log\(\)"):
        run.resume(a={})


def test_an_unfinished_run_goes_on_and_a_finished_one_does_not(tmp_path: Path) -> None:
    names = []
    for status in (RunStatus.FAILED, RunStatus.PREEMPTED, RunStatus.FINISHED, RunStatus.FINISHED):
        run = started(tmp_path)
        run.resume(a={})
        names.append(run.name)
        run.finish(status, "as told")
    assert names == ["digits-1", "digits-1", "digits-1", "digits-2"]


def test_leaving_its_block_with_an_error_leaves_the_run_unfinished(tmp_path: Path) -> None:
    def train() -> None:
        with started(tmp_path) as run:
            run.save(a=1)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        train()
    with started(tmp_path) as run:
        assert runs(run) == {"digits-1": RunStatus.FAILED}


def test_after_the_end_every_use_says_that_it_is_closed(tmp_path: Path) -> None:
    run = started(tmp_path)
    run.save(a=1)
    run.finish()
    run.finish()
    for use in (lambda: run.save(a=1), lambda: run.log(x=1.0), lambda: run.resume(a={}), lambda: run.load()):
        with pytest.raises(KernelClosedError):
            use()


def test_a_run_that_may_not_begin_ends_the_script_and_not_only_a_save(tmp_path: Path) -> None:
    class Closed:
        @hookimpl
        def on_run_start(self) -> bool:
            return False

    with started(tmp_path, register=[Closed()]) as run:
        for use in (lambda: run.save(a=1), lambda: run.log(x=1.0), lambda: run.resume(a={})):
            with pytest.raises(OperationVetoed, match="on_run_start was vetoed by Closed"):
                use()


@pytest.mark.parametrize("keep", ["last:3 + best:3", "nonsense"])
def test_what_to_keep_is_not_decided_yet_and_a_warning_says_so(tmp_path: Path, keep: str) -> None:
    with pytest.warns(UserWarning, match=f"keep='{keep}'.*every checkpoint is kept".replace("+", r"\+")):
        run = started(tmp_path, keep=keep)
    run.finish()
    with warnings.catch_warnings(action="error"):
        started(tmp_path).finish()


def test_an_experiment_that_cannot_be_a_name_is_refused_at_its_first_use(tmp_path: Path) -> None:
    with started(tmp_path, "../x") as run, pytest.raises(InvalidNameError, match="cannot be the name of an experiment"):
        run.save(a=1)


def test_before_it_begins_it_looks_in_its_own_experiment(tmp_path: Path) -> None:
    with started(tmp_path, "words") as run:
        run.save(a="words", val_loss=0.1)
    with started(tmp_path) as run:
        run.save(a="digits", val_loss=0.2)
    with started(tmp_path) as run:
        assert [record.run_name for record in run.checkpoints()] == ["digits-1"]
        assert run.best().val_loss == 0.2  # type: ignore[union-attr]


def test_directions_and_hooks_are_handed_to_the_kernel(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Watch:
        @hookimpl
        def after_checkpoint_save(self, context: Any) -> None:
            seen.append(context.checkpoint_id)

    with started(tmp_path, register=[Watch()], metric_modes={"zeta": "max"}) as run:
        saved = [run.save(a=1, metrics={"zeta": value}) for value in (1, 2)]
        assert run.best("zeta").id == saved[1]  # type: ignore[union-attr]
    assert seen == saved


def test_a_run_is_the_current_kernel_s(run: mc.Run) -> None:
    assert Kernel.current() is run.kernel
    run.kernel.hooks.register_hook("no", lambda context: None, [HookEvent.ON_RUN_END])
