"""Arguments of the wrong kind are told by their name, and not by whatever they would break later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import model_checkpoint.engine as mc
from model_checkpoint.analytics.metrics_collector import MetricsCollector
from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
from model_checkpoint.errors import CheckpointEngineError


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EnhancedCheckpointManager]:
    monkeypatch.chdir(tmp_path)
    made = EnhancedCheckpointManager(f"sqlite:///{tmp_path}/e.db", storage_backend="memory", experiment="s", quiet=True)
    made.save_checkpoint(state={"w": 1}, val_loss=0.5)
    yield made
    made.close()


CALLS: dict[str, Callable[[EnhancedCheckpointManager], object]] = {
    "limit": lambda m: m.list_checkpoints(limit="3"),  # type: ignore[arg-type]
    "limit is an int": lambda m: m.list_checkpoints(limit=1.5),  # type: ignore[arg-type]
    "tag is a string": lambda m: m.list_checkpoints(tag=5),  # type: ignore[arg-type]
    "metric is named": lambda m: m.get_best_checkpoint(5),  # type: ignore[arg-type]
    "format=5": lambda m: m.get_checkpoint_path("latest", format=5),  # type: ignore[arg-type]
    "query is a string": lambda m: m.kernel.query(None),  # type: ignore[arg-type]
    "mapping of names": lambda m: m.kernel.log_metrics([("a", 1)]),  # type: ignore[arg-type]
    "metrics are a mapping": lambda m: MetricsCollector(kernel=m.kernel).collect_metrics("ab"),  # type: ignore[arg-type]
    "kernel='x'": lambda m: EnhancedCheckpointManager(kernel="x"),  # type: ignore[arg-type]
    "metric_modes='x'": lambda m: EnhancedCheckpointManager(metric_modes="x", quiet=True),  # type: ignore[arg-type]
    "plugins=5": lambda m: EnhancedCheckpointManager(plugins=5, quiet=True),  # type: ignore[arg-type]
    "storage_backend=5": lambda m: EnhancedCheckpointManager(storage_backend=5, quiet=True),  # type: ignore[arg-type]
    "checkpoint_dir=5": lambda m: EnhancedCheckpointManager(checkpoint_dir=5, quiet=True),  # type: ignore[arg-type]
    "checkpoint_dir=b'x'": lambda m: EnhancedCheckpointManager(checkpoint_dir=b"x", quiet=True),  # type: ignore[arg-type]
    "NUL": lambda m: EnhancedCheckpointManager(checkpoint_dir="a\0b", quiet=True),
    "is a URL": lambda m: EnhancedCheckpointManager(checkpoint_dir="s3://x/y", quiet=True),
    "no event is named|an event is": lambda m: m.register_hook("h", print, 5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", CALLS)
def test_a_wrong_argument_is_a_typed_error_that_names_it(manager: EnhancedCheckpointManager, message: str) -> None:
    with pytest.raises(CheckpointEngineError, match=message):
        CALLS[message](manager)


def test_a_list_is_no_metrics_of_a_run(tmp_path: Path) -> None:
    run = mc.start("s", database_url=f"sqlite:///{tmp_path}/e.db", quiet=True)
    with pytest.raises(CheckpointEngineError, match="by name or as a mapping"):
        run.log([1])  # type: ignore[arg-type]
    run.finish()
