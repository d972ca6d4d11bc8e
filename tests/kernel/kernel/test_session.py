"""A run while a process works on it: what becomes of its metrics, whatever the record store and other threads do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.errors import ConfigurationError, MetricError, RecordStoreBusyError
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel
from model_checkpoint.kernel import session as module


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    url = f"sqlite:///{tmp_path}/e.db"
    with Kernel.open(url, storage_backend="memory", strict=True, quiet=True) as kernel, kernel.run("s"):
        yield kernel


def recorded(kernel: Kernel) -> list[tuple[str, float, int | None]]:
    points = kernel.records.read_metrics(kernel.current_run().id)
    return [(point.name, point.value, point.step) for point in points]


class Busy:
    """A record store that refuses to append until it is told otherwise."""

    def __init__(self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.busy, self.batches, append = True, 0, kernel.records._store.append_metrics

        def maybe(points: Any) -> None:
            self.batches += 1
            if self.busy:
                raise RecordStoreBusyError("locked by another process")
            append(points)

        monkeypatch.setattr(kernel.records._store, "append_metrics", maybe)


def test_points_wait_for_a_flush_and_are_written_in_one_batch(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Busy(kernel, monkeypatch)
    store.busy = False
    for step in range(100):
        kernel.log_metrics({"x": step, "y": -step}, step=step)
    assert recorded(kernel) == []
    kernel.flush()
    assert len(recorded(kernel)) == 200
    assert store.batches == 1


def test_many_points_are_written_without_being_asked(kernel: Kernel) -> None:
    for step in range(module.FLUSH_POINTS):
        kernel.log_metrics({"x": 1.0}, step=step)
    assert len(recorded(kernel)) == module.FLUSH_POINTS


def test_a_point_is_written_after_a_while(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_AFTER_S", 0.0)
    kernel.log_metrics({"x": 1.0}, step=1)
    assert recorded(kernel) == [("x", 1.0, 1)]


def test_points_stay_buffered_in_their_order_while_the_record_store_refuses_them(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Busy(kernel, monkeypatch)
    kernel.log_metrics({"x": 1.0}, step=1)
    with pytest.raises(RecordStoreBusyError):
        kernel.flush()
    kernel.log_metrics({"x": 2.0}, step=1)
    store.busy = False
    kernel.flush()
    assert recorded(kernel) == [("x", 2.0, 1)]
    kernel.flush()
    assert store.batches == 2


def test_a_busy_record_store_is_a_warning_while_one_trains_and_costs_no_checkpoint(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Busy(kernel, monkeypatch)
    monkeypatch.setattr(module, "FLUSH_AFTER_S", 0.0)
    for step in range(3):
        kernel.log_metrics({"x": float(step)}, step=step)
    assert "3 metric points of run s-1 wait to be recorded: locked by another process" in caplog.text
    saved = kernel.save({"a": 1}, step=3)
    assert kernel.checkpoint(saved).metrics == {"x": 2.0}
    store.busy = False
    kernel.log_metrics({"x": 3.0}, step=3)
    assert recorded(kernel) == [("x", float(step), step) for step in range(4)]


def test_at_last_too_many_points_wait_and_the_error_is_raised(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Busy(kernel, monkeypatch)
    monkeypatch.setattr(module, "FLUSH_AFTER_S", 0.0)
    monkeypatch.setattr(module, "MAX_POINTS", 3)
    kernel.log_metrics({"x": 1.0, "y": 1.0})
    with pytest.raises(RecordStoreBusyError):
        kernel.log_metrics({"x": 2.0})
    store.busy = False


def test_a_veto_of_the_write_drops_the_points_with_a_warning(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    kernel.log_metrics({"x": 1.0}, step=1)
    kernel.hooks.register_hook("no", lambda context: context.table != "metrics", [HookEvent.BEFORE_DB_WRITE])
    kernel.flush()
    kernel.hooks.unregister_hook("no")
    kernel.log_metrics({"x": 2.0}, step=2)
    kernel.flush()
    assert recorded(kernel) == [("x", 2.0, 2)]
    assert "1 metric points were not recorded: before_db_write was vetoed by no" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"values": {"x": 1.0, "y": "no"}}, MetricError),
        ({"values": {"x": 1.0, "": 1.0}}, MetricError),
        ({"values": {"x": 1.0}, "step": 2**63}, MetricError),
        ({"values": {"x": 1.0}, "epoch": 0.5}, MetricError),
        ({"values": {"x": 1.0}, "tags": {"subset": 3}}, ConfigurationError),
    ],
)
def test_what_could_never_be_written_is_refused_before_any_of_it_is_buffered(
    kernel: Kernel, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        kernel.log_metrics(**arguments)
    kernel.log_metrics({"z": 1.0})
    kernel.flush()
    assert recorded(kernel) == [("z", 1.0, None)]
    assert list(kernel.aggregated_metrics()) == ["z"]


def test_what_a_hook_makes_of_a_point_is_checked_too(kernel: Kernel) -> None:
    kernel.hooks.register_hook("spoil", lambda context: context.tags.update(a=1), [HookEvent.BEFORE_METRIC_COLLECTION])
    with pytest.raises(ConfigurationError, match="tags are strings"):
        kernel.log_metrics({"x": 1.0})
    kernel.hooks.unregister_hook("spoil")
    kernel.flush()
    assert recorded(kernel) == []


def test_tags_are_kept_with_a_point(kernel: Kernel) -> None:
    kernel.log_metrics({"x": 1.0}, step=1, tags={"subset": "val"})
    kernel.log_metrics({"x": 2.0}, step=1, tags=["noisy"])
    kernel.flush()
    points = kernel.records.read_metrics(kernel.current_run().id)
    assert [(point.value, point.tags) for point in points] == [(1.0, {"subset": "val"}), (2.0, {"noisy": ""})]


def test_threads_that_log_during_saves_lose_no_point(kernel: Kernel) -> None:
    count, saved = 300, []

    def log(number: int) -> None:
        for step in range(count):
            kernel.log_metrics({f"x{number}": float(step)}, step=step)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        saved.append(kernel.save({"a": 1}))
    kernel.save({"a": 1})
    kernel.flush()
    assert len(recorded(kernel)) == 4 * count
    assert {name: aggregate.count for name, aggregate in kernel.aggregated_metrics().items()} == {
        f"x{number}": count for number in range(4)
    }
    last: dict[str, float] = {}
    for record in reversed(kernel.checkpoints()):
        last |= record.metrics
    assert last == {f"x{number}": count - 1.0 for number in range(4)}
    assert kernel.current_run().last_step == count - 1


def test_a_hook_on_a_metric_may_save_while_another_thread_saves(kernel: Kernel) -> None:
    """Each of the two once held what the other waited for."""
    in_hook, in_save = threading.Event(), threading.Event()

    def save_on_metric(context: Any) -> None:
        in_hook.set()
        in_save.wait(10)
        kernel.save({"a": 1})

    def wait_in_save(context: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            in_save.set()
            kernel.log_metrics({"y": 1.0})

    kernel.hooks.register_hook("metric", save_on_metric, [HookEvent.AFTER_METRIC_COLLECTION], condition=only("x"))
    kernel.hooks.register_hook("save", wait_in_save, [HookEvent.ON_CHECKPOINT_STAGED])
    logger = threading.Thread(target=kernel.log_metrics, args=({"x": 1.0},), daemon=True)
    logger.start()
    in_hook.wait(10)
    kernel.save({"a": 2})
    logger.join(10)
    assert not logger.is_alive()
    assert len(kernel.checkpoints()) == 2


def only(name: str) -> Any:
    return lambda context: context.metric_name == name


@pytest.mark.parametrize("how", ["timeout", "async"])
def test_a_hook_on_a_save_that_runs_on_another_thread_may_log_load_and_ask_for_an_analyzer(
    kernel: Kernel, how: str
) -> None:
    first = kernel.save({"a": 1}, step=1)
    seen: list[object] = []

    def use(context: Any) -> None:
        kernel.log_metrics({"x": 1.0}, step=2)
        kernel.analyzer("performance")
        seen.append(kernel.load(first)["a"])
        seen.append(kernel.best("loss"))

    async def use_later(context: Any) -> None:
        use(context)

    hook, timeout = (use, 10.0) if how == "timeout" else (use_later, None)
    kernel.hooks.register_hook("use", hook, [HookEvent.ON_CHECKPOINT_STAGED], timeout=timeout)
    kernel.save({"a": 2}, step=2)
    assert seen == [1, None]


def test_ending_twice_ends_once(kernel: Kernel) -> None:
    seen: list[Any] = []
    kernel.hooks.register_hook("see", seen.append, [HookEvent.ON_RUN_END])
    kernel.end_run()
    kernel.end_run()
    assert len(seen) == 1
