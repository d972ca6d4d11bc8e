"""The facade for training scripts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from model_checkpoint.analytics.metrics_collector import MetricsCollector
from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager, VetoedSaveWarning
from model_checkpoint.contracts import RunStatus
from model_checkpoint.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    KernelClosedError,
    KernelError,
    OperationVetoed,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

Manager = EnhancedCheckpointManager


def made(folder: Path, **options: Any) -> Manager:
    return Manager(f"sqlite:///{folder}/e.db", "memory", quiet=True, **options)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with made(tmp_path, experiment="digits") as manager:
        yield manager


def runs(kernel: Kernel) -> dict[str, RunStatus]:
    return {run.name: run.status for run in kernel.records.list_runs()}


def test_a_manager_is_one_run_that_begins_with_the_first_save(manager: Manager) -> None:
    assert runs(manager.kernel) == {}
    saved = [manager.save_checkpoint(state={"a": n}, epoch=n) for n in range(2)]
    assert runs(manager.kernel) == {"digits-1": RunStatus.RUNNING}
    assert [record.id for record in manager.list_checkpoints()] == saved[::-1]


def test_a_metric_that_is_collected_first_begins_that_very_run(tmp_path: Path) -> None:
    with made(tmp_path, experiment="digits", config={"lr": 0.1}, tags=["dev"]) as manager:
        MetricsCollector().collect_metric("train_loss", 0.5, step=0)
        saved = manager.save_checkpoint(state={"a": 1})
        run = manager.kernel.records.get_run("digits-1")
        assert run is not None
        assert (run.config, run.tags) == ({"lr": 0.1}, {"dev": ""})
        assert manager.get_checkpoint(str(saved)).metrics == {"train_loss": 0.5}


def test_a_metric_that_is_collected_before_resume_is_told_where_it_belongs(tmp_path: Path) -> None:
    with made(tmp_path, experiment="digits") as manager:
        MetricsCollector().collect_metric("train_loss", 0.5)
        with pytest.raises(
            KernelError, match=r"run 'digits-1' has begun already: call resume\(\) before the first metric"
        ):
            manager.resume(a={})


def test_one_may_go_back_to_the_last_checkpoint_in_the_middle_of_a_run(manager: Manager) -> None:
    manager.save_checkpoint(state={"a": {"n": 1}}, step=1)
    a = {"n": 7}
    assert manager.resume(a=a).step == 1
    assert a == {"n": 1}


@pytest.mark.parametrize("arguments", [{}, {"model": None, "optimizer": None}, {"state": {}}, {"epoch": 3}])
def test_with_nothing_to_save_the_error_says_what_to_give(manager: Manager, arguments: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigurationError, match="there is nothing to save: give model=, optimizer=, scheduler= or state="
    ):
        manager.save_checkpoint(**arguments)
    assert runs(manager.kernel) == {}


def test_what_is_given_twice_is_refused(manager: Manager) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(ConfigurationError, match="model is given both by itself and in state=: give it once"):
        manager.save_checkpoint(model, state={"model": model})


def test_a_vetoed_save_returns_none_with_a_warning_and_is_nobody_s_best(manager: Manager) -> None:
    manager.register_hook("no", lambda context: False, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    with pytest.warns(VetoedSaveWarning, match="the checkpoint was not saved: before_checkpoint_save was vetoed by no"):
        saved = manager.save_checkpoint(state={"a": 1})
    assert saved is None
    assert not manager.is_best_checkpoint(saved)
    with pytest.raises(ConfigurationError, match=r"None \(NoneType\) names no checkpoint"):
        manager.get_checkpoint_path(saved)  # type: ignore[arg-type]


def test_a_veto_is_raised_for_whoever_asks_for_it(tmp_path: Path) -> None:
    with made(tmp_path, on_veto="raise") as manager:
        manager.register_hook("no", lambda context: False, [HookEvent.BEFORE_CHECKPOINT_SAVE])
        with pytest.raises(OperationVetoed):
            manager.save_checkpoint(state={"a": 1})
    with pytest.raises(ConfigurationError, match="on_veto='ignore' is not known: use 'warn' or 'raise'"):
        made(tmp_path, on_veto="ignore")
    assert Kernel.open_kernels() == []


def test_is_best_means_val_loss_else_loss_else_what_one_asks(manager: Manager) -> None:
    first = manager.save_checkpoint(state={"a": 1}, loss=1.0, metrics={"acc": 0.5})
    second = manager.save_checkpoint(state={"a": 1}, loss=2.0, metrics={"acc": 0.6})
    assert [manager.is_best_checkpoint(each) for each in (first, second)] == [True, False]
    assert [manager.is_best_checkpoint(each, "acc") for each in (first, second)] == [False, True]
    third = manager.save_checkpoint(state={"a": 1}, loss=3.0, val_loss=0.1)
    assert [manager.is_best_checkpoint(each) for each in (first, third)] == [False, True]
    with pytest.raises(CheckpointNotFoundError):
        manager.is_best_checkpoint("nobody")


def test_the_best_checkpoint_is_none_where_none_has_the_metric(manager: Manager) -> None:
    manager.save_checkpoint(state={"a": 1}, loss=1.0)
    assert manager.get_best_checkpoint() is None
    assert manager.get_best_checkpoint("loss") == manager.get_checkpoint("latest")


def test_before_the_first_save_it_looks_in_its_experiment_or_run_alone(tmp_path: Path) -> None:
    with made(tmp_path, experiment="words") as words:
        words.save_checkpoint(state={"a": "words"}, val_loss=0.1)
    saved = []
    for value in (0.3, 0.2):
        with made(tmp_path, experiment="digits") as digits:
            saved.append(digits.save_checkpoint(state={"a": value}, val_loss=value))
    with made(tmp_path, experiment="digits") as manager:
        assert [record.id for record in manager.list_checkpoints()] == saved[::-1]
        assert manager.get_best_checkpoint().id == saved[1]  # type: ignore[union-attr]
    with made(tmp_path, experiment="digits", run="digits-1") as manager:
        assert manager.get_best_checkpoint().id == saved[0]  # type: ignore[union-attr]
    with made(tmp_path) as manager:
        assert manager.get_best_checkpoint().val_loss == 0.1  # type: ignore[union-attr]


def test_a_manager_on_another_s_kernel_ends_its_own_run_and_not_the_kernel(memory_kernel: Kernel) -> None:
    with Manager(kernel=memory_kernel, experiment="digits") as manager:
        manager.save_checkpoint(state={"a": 1})
    assert runs(memory_kernel) == {"digits-1": RunStatus.FINISHED}
    with Manager(kernel=memory_kernel, experiment="digits") as manager:
        manager.save_checkpoint(state={"a": 1})
        manager.close()
        manager.close()
    assert runs(memory_kernel)["digits-2"] is RunStatus.FINISHED
    assert memory_kernel.save({"a": 1})


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("x"), RunStatus.FAILED), (KeyboardInterrupt(), RunStatus.PREEMPTED)]
)
def test_how_its_block_was_left_is_how_its_run_ended(
    memory_kernel: Kernel, error: BaseException, status: RunStatus
) -> None:
    def train() -> None:
        with Manager(kernel=memory_kernel, experiment="digits") as manager:
            manager.save_checkpoint(state={"a": 1})
            raise error

    with pytest.raises(type(error)):
        train()
    assert runs(memory_kernel) == {"digits-1": status}


def test_a_run_that_somebody_else_began_is_used_and_not_ended(memory_kernel: Kernel) -> None:
    with memory_kernel.run("digits") as run:
        with Manager(kernel=memory_kernel) as manager:
            saved = manager.save_checkpoint(state={"a": 1})
        assert manager.kernel.active_run is run
    assert memory_kernel.checkpoint(str(saved)).run_name == run.name


@pytest.mark.parametrize("stated", [{"experiment": "words"}, {"run": "digits-7"}])
def test_a_run_that_is_not_the_one_it_was_made_for_is_refused(memory_kernel: Kernel, stated: dict[str, str]) -> None:
    with memory_kernel.run("digits"):
        manager = Manager(kernel=memory_kernel, **stated)
        with pytest.raises(
            KernelError, match="run 'digits-1' of experiment 'digits' is active on this kernel: end it first"
        ):
            manager.save_checkpoint(state={"a": 1})


def test_a_run_may_be_named_by_its_id_too(memory_kernel: Kernel) -> None:
    with memory_kernel.run("digits") as run:
        pass
    with Manager(kernel=memory_kernel, run=run.id) as manager:
        manager.save_checkpoint(state={"a": 1})
        manager.save_checkpoint(state={"a": 2})
    assert list(runs(memory_kernel)) == ["digits-1"]


def test_after_close_everything_says_so(tmp_path: Path) -> None:
    manager = made(tmp_path)
    saved = manager.save_checkpoint(state={"a": 1})
    manager.close()
    manager.close()
    for call in (
        lambda: manager.save_checkpoint(state={"a": 1}),
        lambda: manager.load_checkpoint(),
        lambda: manager.resume(a={}),
        lambda: manager.list_checkpoints(),
        lambda: manager.get_best_checkpoint(),
        lambda: manager.is_best_checkpoint(saved),
        lambda: manager.get_checkpoint_path(str(saved)),
        lambda: manager.verify_checkpoint(),
        lambda: manager.delete_checkpoint(str(saved)),
        lambda: manager.generate_performance_report(),
        lambda: manager.wait(str(saved)),
    ):
        with pytest.raises(KernelClosedError, match="this kernel is closed: open another one"):
            call()


def test_waiting_for_a_save_gives_its_record(manager: Manager) -> None:
    saved = manager.save_checkpoint(state={"a": 1}, step=3, wait=False)
    assert manager.wait(str(saved)).step == 3


def test_options_of_the_interface_that_have_no_effect_yet_are_accepted(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="error"), made(tmp_path, async_save=True) as manager:
        assert manager.save_checkpoint(state={"a": 1}, wait=True)


def test_verify_and_delete_go_by_the_same_words(manager: Manager) -> None:
    manager.save_checkpoint(state={"a": 1}, val_loss=0.1)
    assert manager.verify_checkpoint("best").ok
    assert manager.delete_checkpoint("best") > 0
    assert manager.list_checkpoints() == []


def test_only_what_the_tag_says_is_listed(manager: Manager) -> None:
    manager.save_checkpoint(state={"a": 1})
    tagged = [manager.save_checkpoint(state={"a": 1}, tags=["x"]) for _ in range(3)]
    assert [record.id for record in manager.list_checkpoints(tag="x")] == tagged[::-1]
    assert [record.id for record in manager.list_checkpoints(tag="x", limit=1)] == tagged[-1:]


def test_hooks_are_known_by_their_names(manager: Manager) -> None:
    manager.register_hook("count", lambda context: None, [HookEvent.AFTER_CHECKPOINT_SAVE])
    manager.save_checkpoint(state={"a": 1})
    stats = {line.plugin: line.calls for line in manager.hook_manager.stats()}
    assert stats["count"] == 1
