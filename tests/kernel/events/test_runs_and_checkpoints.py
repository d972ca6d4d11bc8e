"""The events of runs, saves, loads and a resume, seen in their public operations: in order, every field."""

from __future__ import annotations

import pytest

from event_log import Log, anything, empty, is_error, is_file, positive
from model_checkpoint.errors import IntegrityError
from model_checkpoint.kernel import Kernel


def test_a_run_with_a_save(opened: tuple[Kernel, Log]) -> None:
    kernel, log = opened
    state = {"w": [1.0, 2.0]}
    with kernel.run("digits", config={"lr": 0.1}, tags={"stage": "dev"}) as run:
        started = log.take(
            "on_experiment_start",
            experiment_id=None,
            name="digits",
            config={"lr": 0.1},
            tags={"stage": "dev"},
            parent_id=None,
        )
        record = kernel.records.get_run(run.name)
        assert record is not None
        log.operation(started)
        log.operation(
            log.take(
                "on_run_start",
                record,
                run_id=record.id,
                run_name="digits-1",
                config={"lr": 0.1},
                experiment_id=record.experiment_id,
                tags={"stage": "dev"},
                resumed_from=None,
            )
        )
        kernel.log_metrics({"lr": 0.5}, step=6)
        log.operation(
            log.take(
                "before_metric_collection",
                record,
                metric_name="lr",
                value=0.5,
                step=6,
                epoch=None,
                timestamp=positive,
                tags={},
            ),
            log.take(
                "after_metric_collection",
                record,
                metric_name="lr",
                value=0.5,
                step=6,
                epoch=None,
                timestamp=positive,
                aggregate=lambda aggregate: aggregate.last == 0.5,
            ),
        )
        saved = kernel.save(
            {"state": state},
            epoch=2,
            step=7,
            val_loss=0.3,
            metrics={"f1": 0.9},
            tags=["best"],
            metadata={"note": "x"},
            options={"o": 1},
        )
        metrics = {"lr": 0.5, "f1": 0.9, "val_loss": 0.3}
        stored = kernel.checkpoint(saved)
        before = log.take(
            "before_checkpoint_save",
            record,
            model=None,
            optimizer=None,
            scheduler=None,
            state={"state": state},
            epoch=2,
            step=7,
            loss=None,
            val_loss=0.3,
            metrics=metrics,
            tags={"best": ""},
            metadata={"note": "x"},
            backend=None,
            options={"o": 1},
            auto_best=True,
        )
        staged = log.take(
            "on_checkpoint_staged", record, nbytes=lambda nbytes: nbytes >= 0, blocked_s=positive, checkpoint_id=empty
        )
        measured = kernel.checkpoint(saved).metrics
        after = log.take(
            "after_checkpoint_save",
            record,
            saved,
            file_path=is_file,
            epoch=2,
            step=7,
            loss=None,
            val_loss=0.3,
            metrics=measured,
            is_best=True,
            is_best_loss=False,
            is_best_val_loss=True,
            best_for=lambda names: "val_loss" in names,
            nbytes=stored.nbytes,
            nbytes_written=stored.nbytes_written,
            checksum=stored.digest,
            backend=stored.backend,
            duration_s=positive,
        )
        best = [
            log.take(
                "on_best_model_update",
                record,
                saved,
                metric=anything,
                mode=lambda mode: mode in ("min", "max"),
                value=lambda value: value in metrics.values(),
                previous_id=None,
                previous_value=None,
            )
            for _ in after.best_for
        ]
        assert {(each.metric, each.mode) for each in best} >= {("val_loss", "min"), ("f1", "max")}
        log.operation(before, staged, after, *best)
    ends = {"status": "finished", "duration_s": positive, "best_checkpoint_id": saved}
    log.operation(
        log.take("on_run_end", record, run_id=record.id, run_name=run.name, reason="", last_step=7, **ends),
        log.take("on_experiment_end", record, experiment_id=record.experiment_id, **ends),
    )
    assert log.names() == []


def test_a_resume(opened: tuple[Kernel, Log]) -> None:
    kernel, log = opened
    kernel.start_run("digits")
    saved = kernel.save({"x": {"n": 1}}, step=3, epoch=1)
    log.seen.clear()
    kernel.resume({"x": {"n": 0}})
    record = kernel.records.get_run("digits-1")
    assert record is not None
    loaded = log.take(
        "before_checkpoint_load",
        record,
        saved,
        file_path=is_file,
        backend="safetensors",
        map_location=None,
        strict=True,
        weights_only=True,
        keys=None,
    )
    log.operation(
        loaded,
        log.take(
            "after_checkpoint_load",
            record,
            saved,
            file_path=is_file,
            epoch=1,
            step=3,
            missing_keys=(),
            unexpected_keys=(),
            nbytes=anything,
            duration_s=positive,
        ),
    )
    log.operation(
        log.take(
            "on_resume",
            record,
            saved,
            run_id=record.id,
            checkpoint_id=saved,
            step=3,
            epoch=1,
            skipped=(),
            fell_back=False,
        )
    )
    assert log.names() == []


def test_loading_verifying_and_deleting(opened: tuple[Kernel, Log]) -> None:
    kernel, log = opened
    with kernel.run("digits") as run:
        first, second = (kernel.save({"x": number}, step=number) for number in (1, 2))
        record = kernel.records.get_run(run.name)
        log.seen.clear()
        kernel.load(first)
        log.operation(
            log.take(
                "before_checkpoint_load",
                record,
                first,
                file_path=is_file,
                backend="safetensors",
                map_location=None,
                strict=True,
                weights_only=True,
                keys=None,
            ),
            log.take(
                "after_checkpoint_load",
                record,
                first,
                file_path=is_file,
                epoch=None,
                step=1,
                missing_keys=(),
                unexpected_keys=(),
                nbytes=lambda nbytes: nbytes >= 0,
                duration_s=positive,
            ),
        )
        digest = kernel.checkpoint(first).digest
        kernel.verify(first)
        log.operation(
            log.take("before_integrity_check", record, first, file_path=is_file, algorithm="sha256", depth="full"),
            log.take(
                "after_integrity_check",
                record,
                first,
                ok=True,
                expected=digest,
                actual=digest,
                nbytes_read=positive,
                duration_s=positive,
            ),
        )
        nbytes = kernel.checkpoint(first).nbytes_written
        kernel.delete(first, reason="old")
        log.operation(
            log.take(
                "before_checkpoint_delete",
                record,
                first,
                file_path=lambda path: first in path.name,
                reason="old",
                nbytes=nbytes,
                referenced_by=(),
            ),
            log.take("after_checkpoint_delete", record, first, reason="old", nbytes_freed=positive),
        )
        assert log.names() == []
        damaged = kernel.checkpoint_path(second)
        log.seen.clear()
        damaged.chmod(0o644)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        assert not kernel.verify(second).ok
        digest = kernel.checkpoint(second).digest
        log.operation(
            log.take("before_integrity_check", record, second, file_path=is_file, algorithm="sha256", depth="full"),
            log.take(
                "after_integrity_check",
                record,
                second,
                ok=False,
                expected=lambda d: d and d != digest,
                actual=anything,
                nbytes_read=anything,
                duration_s=positive,
            ),
            log.take(
                "on_integrity_failure",
                record,
                second,
                file_path=is_file,
                expected=anything,
                actual=anything,
                bad_parts=lambda parts: damaged.name in parts[0],
                action="mark",
            ),
        )
        with pytest.raises(IntegrityError):
            kernel.load(second)
        log.operation(
            log.take(
                "before_checkpoint_load",
                record,
                second,
                file_path=is_file,
                backend="safetensors",
                map_location=None,
                strict=True,
                weights_only=True,
                keys=None,
            ),
            log.take(
                "on_integrity_failure",
                record,
                second,
                file_path=str(damaged),
                expected=anything,
                actual=anything,
                bad_parts=(str(damaged),),
                action="raise",
            ),
            log.take(
                "on_checkpoint_load_error",
                record,
                second,
                error=is_error(IntegrityError),
                file_path=str(damaged),
                fallback_id=None,
            ),
        )
        assert log.names() == []
