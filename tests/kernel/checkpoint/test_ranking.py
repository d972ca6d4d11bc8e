"""Which best flags a checkpoint takes, and that they are right at any time."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_checkpoint.checkpoint.ranking import primary_metric
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel, hookimpl


def holders(kernel: Kernel) -> dict[str, str]:
    flags = kernel.records.best_flags(kernel.current_run().id)
    return {metric: flag.checkpoint_id for metric, flag in flags.items()}


def test_by_what_the_best_is_meant_where_nobody_says() -> None:
    assert primary_metric({"loss": 1, "val_loss": 1}) == "val_loss"
    assert primary_metric({"loss": 1, "acc": 1}) == "loss"
    assert primary_metric({"acc": 1}) == primary_metric({}) == "val_loss"


def test_each_metric_has_a_best_of_its_own(memory_kernel: Kernel) -> None:
    first = memory_kernel.save({"a": 1}, loss=1.0, metrics={"acc": 0.5, "zeta": 1.0})
    second = memory_kernel.save({"a": 1}, loss=2.0, metrics={"acc": 0.6})
    assert holders(memory_kernel) == {"loss": first, "acc": second}


def test_a_direction_that_the_user_stated_counts(tmp_path: Any) -> None:
    modes = {"zeta": "max", "loss": "max"}
    with Kernel.open("sqlite:///:memory:", checkpoint_dir=tmp_path, quiet=True, metric_modes=modes) as kernel:
        kernel.save({"a": 1}, loss=1.0, metrics={"zeta": 1.0})
        second = kernel.save({"a": 1}, loss=2.0, metrics={"zeta": 2.0})
        assert holders(kernel) == {"loss": second, "zeta": second}
        assert kernel.load("best:zeta").checkpoint_id == second


def test_without_auto_best_no_flag_is_taken(memory_kernel: Kernel) -> None:
    seen: list[Any] = []
    memory_kernel.hooks.register_hook("see", seen.append, [HookEvent.ON_BEST_MODEL_UPDATE])
    memory_kernel.save({"a": 1}, val_loss=1.0, auto_best=False)
    assert holders(memory_kernel) == {}
    assert seen == []


def test_a_new_best_tells_whom_it_follows(memory_kernel: Kernel) -> None:
    seen: list[Any] = []
    memory_kernel.hooks.register_hook("see", seen.append, [HookEvent.ON_BEST_MODEL_UPDATE])
    first = memory_kernel.save({"a": 1}, val_loss=2.0)
    second = memory_kernel.save({"a": 1}, val_loss=1.0)
    told = [(c.checkpoint_id, c.mode, c.value, c.previous_id, c.previous_value) for c in seen]
    assert told == [(first, "min", 2.0, None, None), (second, "min", 1.0, first, 2.0)]


@pytest.mark.parametrize("remove", ["delete", "damage"])
def test_the_flag_of_a_best_that_is_gone_goes_to_the_next_best_and_is_won_from_it(
    memory_kernel: Kernel, remove: str
) -> None:
    second = memory_kernel.save({"a": 1}, val_loss=0.2)
    best = memory_kernel.save({"a": 1}, val_loss=0.1)
    if remove == "delete":
        memory_kernel.delete(best)
    else:
        memory_kernel.backends.open("memory").forget(best)
        assert not memory_kernel.verify(best).ok
    assert holders(memory_kernel) == {"val_loss": second}
    assert memory_kernel.checkpoint(second).best_for == ("val_loss",)
    worse = memory_kernel.save({"a": 1}, val_loss=0.3)
    assert memory_kernel.checkpoint(worse).best_for == ()
    better = memory_kernel.save({"a": 1}, val_loss=0.15)
    assert holders(memory_kernel) == {"val_loss": better}


def test_a_checkpoint_that_is_damaged_is_nobody_s_best(memory_kernel: Kernel) -> None:
    only = memory_kernel.save({"a": 1}, val_loss=0.1)
    memory_kernel.records.mark_damaged(only, "a byte differs")
    assert holders(memory_kernel) == {}
    assert memory_kernel.checkpoint(only).best_for == ()
    worse = memory_kernel.save({"a": 1}, val_loss=0.9)
    assert holders(memory_kernel) == {"val_loss": worse}
    memory_kernel.records.mark_damaged(only, "")
    assert holders(memory_kernel) == {"val_loss": only}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flags_and_the_best_by_query_agree_whatever_is_saved_damaged_cleared_and_deleted(
    memory_kernel: Kernel, data: st.DataObject
) -> None:
    values = st.sampled_from([0.0, 1.0, 2.0, -0.0, math.nan, math.inf, -math.inf, 2**53, 2**53 + 1])
    with memory_kernel.run("s"):
        alive: list[str] = []
        for _ in range(data.draw(st.integers(1, 8))):
            action = data.draw(st.sampled_from(["save", "save", "damage", "clear", "delete"]))
            if action == "save":
                metrics = {"loss": data.draw(values), "acc": data.draw(values)}
                alive.append(memory_kernel.save({"a": 1}, metrics=metrics))
            elif alive:
                chosen = data.draw(st.sampled_from(alive))
                if action == "delete":
                    memory_kernel.delete(chosen)
                    alive.remove(chosen)
                else:
                    memory_kernel.records.mark_damaged(chosen, "bad" if action == "damage" else "")
            for metric, mode in (("loss", "min"), ("acc", "max")):
                best = memory_kernel.best(metric, mode)
                assert holders(memory_kernel).get(metric) == (best.id if best else None)


def test_a_comparing_hook_gets_both_records(memory_kernel: Kernel) -> None:
    seen: list[tuple[str, str, str, str]] = []

    class Compare:
        @hookimpl
        def compare_checkpoints(self, a: Any, b: Any, metric: str, mode: str) -> int:
            seen.append((a.id, b.id, metric, mode))
            return -1

    memory_kernel.plugins.add(Compare())
    first, second = memory_kernel.save({"a": 1}, loss=2.0), memory_kernel.save({"a": 1}, loss=1.0)
    assert seen == [(second, first, "loss", "min")]
    assert holders(memory_kernel) == {"loss": first}
