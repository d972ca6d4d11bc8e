"""The lines that users were promised, run as they stand against a small real model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from model_checkpoint.errors import ConfigurationError, NotInThisVersionError


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def small_training() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_the_loop_of_the_mission_runs_as_written() -> None:
    from model_checkpoint.analytics.metrics_collector import MetricsCollector
    from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
    from model_checkpoint.cloud.s3_provider import S3Provider

    model, optimizer = small_training()
    epochs, lacking = 3, []
    manager = EnhancedCheckpointManager(database_url="sqlite:///experiments.db", storage_backend="pytorch")
    collector = MetricsCollector()
    cloud = S3Provider(bucket_name="ml-checkpoints")
    for epoch in range(epochs):
        loss, val_loss, accuracy, f1_score = 1.0 / (epoch + 1), abs(epoch - 1) + 0.1, 0.5 + epoch / 10, 0.4
        collector.collect_metric("train_loss", loss, step=epoch)
        collector.collect_metric("val_accuracy", accuracy, step=epoch)
        checkpoint_id = manager.save_checkpoint(model=model, optimizer=optimizer, epoch=epoch, loss=loss,
                                                val_loss=val_loss, metrics={"accuracy": accuracy, "f1": f1_score},
                                                auto_best=True)  # fmt: skip
        if manager.is_best_checkpoint(checkpoint_id):
            try:
                cloud.upload(
                    local_path=manager.get_checkpoint_path(checkpoint_id), remote_path=f"best/{checkpoint_id}.pt"
                )
            except NotInThisVersionError as error:
                lacking.append(str(error))
    best_model = manager.get_best_checkpoint(metric="val_loss", mode="min")
    aggregated_metrics = collector.get_all_aggregated_metrics()
    performance_report = manager.generate_performance_report()

    assert best_model is not None
    assert best_model.epoch == 1
    assert best_model.metrics["val_accuracy"] == 0.6, "a collected metric counts"
    by_collected = manager.get_best_checkpoint(metric="val_accuracy", mode="max")
    assert by_collected is not None
    assert by_collected.epoch == 2
    assert aggregated_metrics["train_loss"].count == 3
    assert aggregated_metrics["train_loss"].min == pytest.approx(1 / 3)
    saves = performance_report["operations"]["save"]
    assert saves["count"] == 3
    assert 0 < saves["p50_s"] <= saves["p99_s"] <= saves["max_s"] * 1.02
    assert len(lacking) == 2
    assert "was not uploaded" in lacking[0]
    opened = torch.load(manager.get_checkpoint_path(best_model.id), weights_only=True)
    assert opened["epoch"] == 1
    assert torch.equal(opened["model_state_dict"]["weight"], model.weight)
    assert set(opened["optimizer_state_dict"]) == {"state", "param_groups", "parameters"}  # torch heeds the first two
    optimizer.load_state_dict(opened["optimizer_state_dict"])
    manager.close()


def test_hooks_are_registered_as_the_mission_writes_it() -> None:
    from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
    from model_checkpoint.hooks import BaseHook, HookEvent, HookPriority, hook_handler
    from model_checkpoint.hooks.decorators import conditional_hook

    seen: list[object] = []

    def validate_checkpoint(context: object) -> bool:
        seen.append("validated")
        return True

    class MyHooks(BaseHook):
        @hook_handler([HookEvent.AFTER_CHECKPOINT_SAVE], priority=HookPriority.LOW)
        def saved(self, context: object) -> None:
            seen.append(context.checkpoint_id)  # type: ignore[attr-defined]

        @hook_handler([HookEvent.AFTER_CHECKPOINT_SAVE])
        @conditional_hook(lambda context: context.get("epoch") % 10 == 0)
        def every_tenth(self, context: object) -> None:
            seen.append("tenth")

    model, _ = small_training()
    manager = EnhancedCheckpointManager(storage_backend="memory", quiet=True)
    manager.register_hook(
        "validation", validate_checkpoint, [HookEvent.BEFORE_CHECKPOINT_SAVE], priority=HookPriority.HIGH
    )
    manager.hook_manager.register_object_hooks(MyHooks())
    first = manager.save_checkpoint(model=model, epoch=0)
    second = manager.save_checkpoint(model=model, epoch=1)
    manager.close()
    assert seen == ["validated", "tenth", first, "validated", second]


def test_the_five_lines_of_a_new_script_run() -> None:
    import model_checkpoint.engine as mc

    model, opt = small_training()
    cfg, epochs, loss, v = {"lr": 1e-3}, 2, torch.tensor(0.5), 0.25
    with pytest.warns(UserWarning, match="every checkpoint is kept"):
        run = mc.start("digits", config=cfg, keep="last:3 + best:3")
    start = run.resume(model=model, optimizer=opt)
    assert not start
    for epoch in range(start.next_epoch, epochs):
        run.log(train_loss=loss, step=epoch)
        run.save(epoch=epoch, metrics={"val_loss": v}, wait=False)
    assert [record.epoch for record in run.checkpoints()] == [0, 1]
    assert run.checkpoints()[0].best_for == ("train_loss", "val_loss")
    run.finish()


def test_the_kernel_is_driven_from_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    from model_checkpoint.hooks import HookEvent
    from model_checkpoint.kernel import Kernel, hookimpl

    class Watch:
        @hookimpl
        def after_checkpoint_save(self, context: object) -> None:
            print(context.checkpoint_id, context.nbytes_written)  # type: ignore[attr-defined]

    model, optimizer = small_training()
    with Kernel.open("sqlite:///experiments.db", plugins="all", register=[Watch()]) as kernel:
        with kernel.run("digits", config={"lr": 1e-3}, tags={"stage": "dev"}) as run:
            checkpoint_id = kernel.save(
                {"model": model, "optimizer": optimizer}, step=10, metrics={"val_loss": 0.1}, tags=["candidate"]
            )
        report = kernel.load("best:val_loss", into={"model": model})
        found = kernel.query("metrics.val_loss < 0.2 and tags.stage = 'dev' order by step desc")
        for record in found:
            print(record.id, record.metrics["val_loss"])
        assert [info.name for info in kernel.plugins.list() if info.state not in ("active", "registered")] == []
        assert kernel.config.storage.verify == "fast"
        assert kernel.hook.on_system_start is not None
        kernel.fire(HookEvent.ON_METRIC_THRESHOLD, metric_name="x", value=1.0)
    assert run.name == "digits-1"
    assert report.checkpoint_id == checkpoint_id
    assert [record.id for record in found] == [checkpoint_id]
    printed = capsys.readouterr()
    assert printed.out.count(checkpoint_id) == 2
    assert str(Path.cwd() / "checkpoints") in printed.err


def test_migration_says_what_it_lacks_and_touches_nothing(tmp_path: Path) -> None:
    from model_checkpoint.migration.migration_manager import MigrationManager

    with pytest.raises(ConfigurationError, match="there is no folder"):
        MigrationManager().migrate_from_legacy(source_dir="old/checkpoints", format_type="pytorch_legacy")
    (tmp_path / "old").mkdir()
    with pytest.raises(NotInThisVersionError, match="was not migrated and not changed"):
        MigrationManager().migrate_from_legacy(source_dir="old", format_type="pytorch_legacy")
