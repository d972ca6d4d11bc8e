"""The collector of training scripts: alone in memory, or on the current run of an open kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model_checkpoint.analytics.metrics_collector import MetricsCollector
from model_checkpoint.errors import AmbiguousKernelError, KernelClosedError, MetricError
from model_checkpoint.kernel import Kernel


def opened(folder: Path) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/experiments.db", storage_backend="memory", plugins="builtin", quiet=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with opened(tmp_path) as kernel:
        yield kernel


def test_without_a_kernel_it_collects_in_memory() -> None:
    collector = MetricsCollector()
    for epoch, loss in enumerate([1.0, torch.tensor(0.25), 0.5]):
        collector.collect_metric("train_loss", loss, step=epoch)
    collector.collect_metric("val_accuracy", True)
    aggregated = collector.get_all_aggregated_metrics()

    assert not collector.attached
    assert list(aggregated) == ["train_loss", "val_accuracy"]
    loss = aggregated["train_loss"]
    assert (loss.count, loss.last, loss.min, loss.min_step, loss.max) == (3, 0.5, 0.25, 1, 1.0)
    assert collector.get_aggregated_metric("val_accuracy").last == 1


def test_two_collectors_without_a_kernel_share_nothing() -> None:
    one, other = MetricsCollector(), MetricsCollector()
    one.collect_metric("x", 1.0)

    assert other.get_all_aggregated_metrics() == {}


def test_several_metrics_are_collected_together_or_not_at_all() -> None:
    collector = MetricsCollector()
    collector.collect_metrics({"a": 1.0, "b": math.nan}, step=3)
    with pytest.raises(MetricError, match="'b'"):
        collector.collect_metrics({"a": 2.0, "b": "no number"}, step=4)

    assert collector.get_aggregated_metric("a").count == 1
    assert collector.get_aggregated_metric("b").non_finite == 1


@pytest.mark.parametrize(
    ("name", "value", "step"),
    [("loss", "0.5", 0), ("loss", None, 0), ("", 0.5, 0), (7, 0.5, 0), ("loss", 0.5, -1), ("loss", 0.5, 0.5)],
)
def test_what_is_no_metric_is_refused_and_not_collected(name: object, value: object, step: object) -> None:
    collector = MetricsCollector()

    with pytest.raises(MetricError):
        collector.collect_metric(name, value, step=step)  # type: ignore[arg-type]
    assert collector.get_all_aggregated_metrics() == {}


def test_asking_for_an_unknown_metric_offers_what_there_is() -> None:
    collector = MetricsCollector()
    with pytest.raises(MetricError, match=r"no metric 'loss' was collected; there are: none\."):
        collector.get_aggregated_metric("loss")
    collector.collect_metrics({"train_loss": 1.0, "lr": 0.1})
    with pytest.raises(MetricError, match=r"there are: train_loss, lr\. Did you mean 'train_loss'\?"):
        collector.get_aggregated_metric("trian_loss")


def test_made_while_a_kernel_is_open_it_collects_on_its_current_run(kernel: Kernel) -> None:
    collector = MetricsCollector()
    with kernel.run("digits") as run:
        collector.collect_metric("train_loss", torch.tensor(0.5), step=1)
        collector.collect_metrics({"train_loss": 0.25, "lr": 0.1}, step=2)
        run.flush()
        points = kernel.records.read_metrics(run.id)

    assert collector.attached
    assert [(point.name, point.value, point.step) for point in points] == [
        ("train_loss", 0.5, 1),
        ("train_loss", 0.25, 2),
        ("lr", 0.1, 2),
    ]
    assert collector.get_all_aggregated_metrics() == kernel.aggregated_metrics()
    assert collector.get_aggregated_metric("train_loss").min == 0.25


def test_what_an_attached_collector_collects_goes_into_the_next_checkpoint(kernel: Kernel) -> None:
    collector = MetricsCollector()
    collector.collect_metric("val_accuracy", 0.9, step=1)
    first = kernel.save({"a": 1}, step=1)

    assert kernel.checkpoint(first).metrics == {"val_accuracy": 0.9}
    assert kernel.checkpoint(first).best_for == ("val_accuracy",)


def test_one_made_before_the_kernel_stays_alone(tmp_path: Path) -> None:
    collector = MetricsCollector()
    with opened(tmp_path) as kernel:
        collector.collect_metric("x", 1.0)

        assert not collector.attached
        assert kernel.aggregated_metrics() == {}


def test_with_several_kernels_open_it_must_be_told_which(tmp_path: Path, kernel: Kernel) -> None:
    (tmp_path / "other").mkdir()
    with opened(tmp_path / "other") as other:
        with pytest.raises(AmbiguousKernelError, match="kernel="):
            MetricsCollector()
        MetricsCollector(kernel=other).collect_metric("x", 1.0)

        assert list(other.aggregated_metrics()) == ["x"]
        assert kernel.aggregated_metrics() == {}


def test_once_its_kernel_is_closed_it_collects_nothing_more(tmp_path: Path) -> None:
    with opened(tmp_path):
        collector = MetricsCollector()

    with pytest.raises(KernelClosedError):
        collector.collect_metric("x", 1.0)


def test_the_plugin_provides_the_analyzer_of_every_run(kernel: Kernel) -> None:
    info = kernel.plugins.get("metrics")

    assert info is not None
    assert info.provides == ("analyzer:metrics",)
