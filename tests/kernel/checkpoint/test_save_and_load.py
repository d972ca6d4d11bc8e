"""A save and a load, seen from outside: what fires in which order, what fails and what is left behind."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    MetricError,
    OperationVetoed,
    PartialRestoreError,
    StateMismatchError,
    StorageFullError,
    StorageReadOnlyError,
    UnknownBackendError,
    UnknownSchemeError,
    UnstorableStateError,
    Veto,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

BACKENDS = ("vault", "safetensors", "pytorch", "memory")


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", strict=True, quiet=True) as opened:
        yield opened


def listen(kernel: Kernel, *events: HookEvent) -> list[object]:
    seen: list[object] = []
    kernel.hooks.register_hook("listen", seen.append, list(events))
    return seen


def names(seen: list[object]) -> list[str]:
    return [context.event for context in seen]  # type: ignore[attr-defined]


SAVE_EVENTS = (
    HookEvent.BEFORE_CHECKPOINT_SAVE, HookEvent.ON_CHECKPOINT_STAGED, HookEvent.AFTER_CHECKPOINT_SAVE,
    HookEvent.ON_BEST_MODEL_UPDATE, HookEvent.ON_CHECKPOINT_SAVE_ERROR,
)  # fmt: skip


def test_a_save_fires_its_events_in_order_with_every_field(kernel: Kernel) -> None:
    seen = listen(kernel, *SAVE_EVENTS)
    model = nn.Linear(2, 1)
    saved = kernel.save({"model": model, "extra": [1]}, epoch=3, step=7, loss=0.5, val_loss=0.4, tags=["x"])
    assert names(seen) == [*SAVE_EVENTS[:4], SAVE_EVENTS[3]]
    before, staged, after, *best = seen
    assert before.model is model  # type: ignore[attr-defined]
    assert before.state == {"extra": [1]}  # type: ignore[attr-defined]
    assert (before.epoch, before.step, before.loss, before.val_loss) == (3, 7, 0.5, 0.4)  # type: ignore[attr-defined]
    assert before.tags == {"x": ""}  # type: ignore[attr-defined]
    assert staged.nbytes >= 12  # type: ignore[attr-defined]
    assert after.checkpoint_id == saved  # type: ignore[attr-defined]
    assert after.is_best  # type: ignore[attr-defined]
    assert after.is_best_loss  # type: ignore[attr-defined]
    assert after.is_best_val_loss  # type: ignore[attr-defined]
    assert after.best_for == ("loss", "val_loss")  # type: ignore[attr-defined]
    assert after.nbytes_written > after.nbytes > 0  # type: ignore[attr-defined]
    assert len(after.checksum) == 64  # type: ignore[attr-defined]
    assert {context.metric for context in best} == {"loss", "val_loss"}  # type: ignore[attr-defined]
    assert {context.operation_id for context in seen} == {before.operation_id}  # type: ignore[attr-defined]
    assert {context.run_name for context in seen} == {kernel.current_run().name}  # type: ignore[attr-defined]


def test_a_load_fires_its_events_in_order(kernel: Kernel) -> None:
    saved = kernel.save({"model": nn.Linear(2, 1)}, epoch=1, step=2)
    events = (HookEvent.BEFORE_CHECKPOINT_LOAD, HookEvent.AFTER_CHECKPOINT_LOAD, HookEvent.ON_CHECKPOINT_LOAD_ERROR)
    seen = listen(kernel, *events)
    kernel.load(saved, into={"model": nn.Linear(2, 1)})
    assert names(seen) == list(events[:2])
    assert (seen[1].epoch, seen[1].step, seen[1].missing_keys) == (1, 2, ())  # type: ignore[attr-defined]
    assert seen[1].nbytes >= 12  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", BACKENDS)
def test_model_and_optimizer_come_back_in_place_bit_for_bit(backend: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.randn(4, 1, 4, 4)).sum().backward()
    optimizer.step()
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", storage_backend=backend, quiet=True) as kernel:
        saved = kernel.save({"model": model, "optimizer": optimizer})
        held = {key: value.clone() for key, value in model.state_dict().items()}
        addresses = [p.data_ptr() for p in model.parameters()]
        for p in model.parameters():
            p.data.zero_()
        twin = torch.optim.AdamW(model.parameters(), lr=7.0, fused=True)
        report = kernel.load(saved, into={"model": model, "optimizer": twin})
        assert [p.data_ptr() for p in model.parameters()] == addresses
        assert all(torch.equal(held[key], value) for key, value in model.state_dict().items())
        assert twin.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                other = twin.state_dict()["state"][index][name]
                assert other.dtype == value.dtype
                assert torch.equal(other, value)
        assert set(report) == {"model", "optimizer"}


def test_tied_weights_are_stored_once_and_tied_again(kernel: Kernel) -> None:
    embedding = nn.Embedding(1000, 64)
    head = nn.Linear(64, 1000, bias=False)
    head.weight = embedding.weight
    model = nn.ModuleDict({"embedding": embedding, "head": head})
    saved = kernel.save({"model": model})
    assert kernel.checkpoint(saved).nbytes < 1000 * 64 * 4 * 1.5
    state = kernel.load(saved)["model"]
    assert state["embedding.weight"].data_ptr() == state["head.weight"].data_ptr()  # type: ignore[index]


def test_hooks_may_change_what_is_saved(kernel: Kernel) -> None:
    def change(context: object) -> dict[str, object]:
        context.metrics["extra"] = 3.0  # type: ignore[attr-defined]
        return {"tags": {"by": "hook"}, "backend": "memory", "state": {"other": 5}}

    kernel.hooks.register_hook("change", change, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    record = kernel.checkpoint(kernel.save({"a": 1}))
    assert record.metrics == {"extra": 3.0}
    assert record.tags == {"by": "hook"}
    assert record.backend == "memory"
    assert dict(kernel.load(record.id)) == {"other": 5}


def test_a_veto_saves_nothing_and_fires_no_error(kernel: Kernel) -> None:
    def refuse(context: object) -> None:
        raise Veto("not today")

    seen = listen(kernel, *SAVE_EVENTS[1:])
    kernel.hooks.register_hook("refuse", refuse, [HookEvent.BEFORE_CHECKPOINT_SAVE])
    with pytest.raises(OperationVetoed, match="vetoed by refuse: not today"):
        kernel.save({"a": 1})
    assert seen == []
    assert kernel.records.list_checkpoints() == []


def test_an_unstorable_leaf_is_named_before_anything_is_written(kernel: Kernel, tmp_path: Path) -> None:
    seen = listen(kernel, HookEvent.ON_CHECKPOINT_SAVE_ERROR)
    with open(__file__) as file, pytest.raises(UnstorableStateError) as refused:
        kernel.save({"state": {"schedule": {"fn": lambda: 1}, "log": [file]}})
    assert [path for path, _ in refused.value.problems] == ["state.schedule.fn", "state.log[0]"]
    assert seen[0].stage == "capture"  # type: ignore[attr-defined]
    assert seen[0].cleaned_up  # type: ignore[attr-defined]
    assert [p for p in (tmp_path / "checkpoints").rglob("*") if p.is_file() and "runs" not in p.parts] == []


class FailingFs(FsOps):
    """Fails every write after `armed` is set, as a full or read-only disk does."""

    def __init__(self, code: int) -> None:
        self.code, self.armed = code, False

    def create(self, path: Path) -> object:  # type: ignore[override]
        if self.armed:
            raise OSError(self.code, "as told", str(path))
        return super().create(path)


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, StorageFullError), (errno.EROFS, StorageReadOnlyError)])
@pytest.mark.parametrize("backend", ["vault", "safetensors", "pytorch"])
def test_a_full_or_read_only_disk_is_a_typed_error_and_loses_nothing(
    backend: str, code: int, error: type[Exception], tmp_path: Path
) -> None:
    fs = FailingFs(code)
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", storage_backend=backend, quiet=True, fs=fs) as kernel:
        first = kernel.save({"model": nn.Linear(2, 2)}, step=1)
        store = kernel.backends.open(backend)
        fs.armed = True
        seen = listen(kernel, *SAVE_EVENTS)
        with pytest.raises(error, match=r"checkpoint_dir"):
            kernel.save({"model": nn.Linear(2, 2)}, step=2)
        assert names(seen)[-1] == HookEvent.ON_CHECKPOINT_SAVE_ERROR
        assert seen[-1].stage == "write"  # type: ignore[attr-defined]
        fs.armed = False
        assert [record.id for record in kernel.records.list_checkpoints()] == [first]
        assert kernel.load("latest").checkpoint_id == first
        assert set(store.list_ids()) == {first}
        kernel.save({"model": nn.Linear(2, 2)}, step=2)


def test_a_real_read_only_directory_is_a_typed_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with (
        Kernel.open(f"sqlite:///{tmp_path}/e.db", checkpoint_dir=blocked / "c", quiet=True) as kernel,
        pytest.raises(OSError, match="file"),
    ):
        kernel.save({"a": 1})


def test_keys_that_do_not_match_are_all_named_and_nothing_changes(kernel: Kernel) -> None:
    saved = kernel.save({"model": nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))})
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 1))
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(StateMismatchError) as refused:
        kernel.load(saved, into={"model": other})
    paths = {path for path, _ in refused.value.problems}
    assert paths == {"model.1.weight", "model.1.bias", "model.2.weight", "model.2.bias"}
    assert "(1, 3)" in str(refused.value)
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())
    report = kernel.load(saved, into={"model": other}, strict=False)
    assert set(report.missing) == {"model.2.weight", "model.2.bias"}
    assert set(report.mismatched) == {"model.1.weight", "model.1.bias"}
    assert torch.equal(other.state_dict()["0.weight"], report["model"]["0.weight"])  # type: ignore[index]


def test_an_object_that_the_checkpoint_lacks_is_named(kernel: Kernel) -> None:
    model = nn.Linear(2, 1)
    saved = kernel.save({"model": model})
    with pytest.raises(StateMismatchError, match="has no 'optimizer'; it has model"):
        kernel.load(saved, into={"optimizer": torch.optim.SGD(model.parameters(), lr=1.0)})


def test_a_restore_that_breaks_off_names_what_was_overwritten(kernel: Kernel) -> None:
    class Stubborn:
        def state_dict(self) -> dict[str, int]:
            return {"n": 1}

        def load_state_dict(self, state: dict[str, int]) -> None:
            raise RuntimeError("no")

    saved = kernel.save({"first": {"a": 1}, "second": Stubborn()})
    with pytest.raises(PartialRestoreError) as broken:
        kernel.load(saved, into={"first": {}, "second": Stubborn()})
    assert broken.value.overwritten == ("first",)
    assert broken.value.failed == "second"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_kept_and_never_best(kernel: Kernel, value: float) -> None:
    good = kernel.save({"a": 1}, val_loss=0.5)
    odd = kernel.save({"a": 1}, val_loss=value)
    kept = kernel.checkpoint(odd).metrics["val_loss"]
    assert kept == value or (math.isnan(kept) and math.isnan(value))
    best = kernel.best("val_loss")
    assert best is not None
    assert best.id == good
    assert kernel.checkpoint(good).best_for == ("val_loss",)


def test_of_two_equal_values_the_earlier_checkpoint_stays_best(kernel: Kernel) -> None:
    first = kernel.save({"a": 1}, val_loss=0.5)
    kernel.save({"a": 2}, val_loss=0.5)
    best = kernel.best()
    assert best is not None
    assert best.id == first
    assert kernel.checkpoint(first).best_for == ("val_loss",)


def test_compare_checkpoints_may_decide_otherwise(kernel: Kernel) -> None:
    from model_checkpoint.kernel import hookimpl

    class Later:
        @hookimpl
        def compare_checkpoints(self, a: object, b: object) -> int:
            return 1

    kernel.plugins.add(Later())
    kernel.save({"a": 1}, val_loss=0.1)
    second = kernel.save({"a": 2}, val_loss=0.9)
    assert kernel.checkpoint(second).best_for == ("val_loss",)


def test_a_metric_of_unclear_direction_needs_a_mode(kernel: Kernel) -> None:
    kernel.save({"a": 1}, metrics={"zeta": 2.0})
    saved = kernel.save({"a": 1}, metrics={"zeta": 1.0})
    with pytest.raises(MetricError, match="say mode='min' or mode='max'"):
        kernel.best("zeta")
    best = kernel.best("zeta", "min")
    assert best is not None
    assert best.id == saved
    assert kernel.load("best:zeta:min").checkpoint_id == saved


@pytest.mark.parametrize("value", ["0.5", None, [1.0], object()])
def test_a_metric_that_is_no_number_is_refused_before_anything_is_written(kernel: Kernel, value: object) -> None:
    with pytest.raises(MetricError, match="zeta"):
        kernel.save({"a": 1}, metrics={"zeta": value})
    assert kernel.records.list_checkpoints() == []


def test_ids_are_readable_and_unique_for_the_same_step_saved_twice(kernel: Kernel) -> None:
    saved = {kernel.save({"a": n}, epoch=4, step=350) for n in range(20)}
    assert len(saved) == 20
    assert all("-e0004-s000350-" in each for each in saved)


def test_words_find_checkpoints_and_a_wrong_id_offers_the_nearest(kernel: Kernel) -> None:
    first = kernel.save({"a": 1}, step=1, val_loss=0.1, tags=["candidate"])
    second = kernel.save({"a": 2}, step=2, val_loss=0.2)
    found = {word: kernel.checkpoint(word).id for word in ("latest", "best", "best:val_loss", "tag:candidate", second)}
    assert found == {"latest": second, "best": first, "best:val_loss": first, "tag:candidate": first, second: second}
    with pytest.raises(CheckpointNotFoundError, match=f"Did you mean '{second}'"):
        kernel.load(second + "x")


def test_unknown_backends_and_schemes_offer_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackendError, match="did you mean 'safetensors'"):
        Kernel.open(f"sqlite:///{tmp_path}/e.db", storage_backend="safetensor", quiet=True)
    with pytest.raises(UnknownSchemeError, match="Known: sqlite"):
        Kernel.open("mongodb://localhost/x", quiet=True)
    assert Kernel.open_kernels() == []


@pytest.mark.parametrize("call", [
    lambda kernel, saved: kernel.load(saved, verify="deep"),
    lambda kernel, saved: kernel.load(saved, strict="maybe"),
    lambda kernel, saved: kernel.checkpoint_path(saved, format="onnx"),
    lambda kernel, saved: kernel.save({"a": 1}, tags={"a": 1}),
])  # fmt: skip
def test_wrong_arguments_are_configuration_errors(kernel: Kernel, call: Callable[[Kernel, str], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"known|strings"):
        call(kernel, kernel.save({"a": 1}))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("format", ["pt", "safetensors"])
def test_every_backend_gives_files_that_other_tools_open(backend: str, format: str, tmp_path: Path) -> None:
    import safetensors.torch

    model = nn.Linear(2, 1)
    with Kernel.open(f"sqlite:///{tmp_path}/e.db", storage_backend=backend, quiet=True) as kernel:
        path = kernel.checkpoint_path(kernel.save({"model": model}, epoch=2), format=format)
        if format == "pt":
            weight = torch.load(path, weights_only=True)["model_state_dict"]["weight"]
        else:
            weight = safetensors.torch.load_file(path)["model.weight"]
        assert torch.equal(weight, model.weight)


def test_a_checkpoint_can_be_deleted_and_a_hook_may_keep_it(kernel: Kernel) -> None:
    first, second = kernel.save({"a": 1}, step=1), kernel.save({"a": 2}, step=2)
    kernel.hooks.register_hook(
        "keep", lambda context: context.checkpoint_id != second, [HookEvent.BEFORE_CHECKPOINT_DELETE]
    )
    assert kernel.delete(first) > 0
    with pytest.raises(OperationVetoed):
        kernel.delete(second)
    assert [record.id for record in kernel.records.list_checkpoints()] == [second]


def test_a_save_from_within_a_save_works(kernel: Kernel) -> None:
    inner: list[str] = []

    def again(context: object) -> None:
        if not inner:
            inner.append("")
            inner[0] = kernel.save({"inner": 1}, step=2)

    kernel.hooks.register_hook("again", again, [HookEvent.AFTER_CHECKPOINT_SAVE])
    outer = kernel.save({"outer": 1}, step=1)
    assert dict(kernel.load(outer)) == {"outer": 1}
    assert dict(kernel.load(inner[0])) == {"inner": 1}


def test_writes_to_the_database_are_announced_and_can_be_vetoed(kernel: Kernel) -> None:
    first = kernel.save({"a": 1}, step=1)
    seen = listen(kernel, HookEvent.BEFORE_DB_WRITE, HookEvent.AFTER_DB_WRITE)
    kernel.save({"a": 2}, step=2)
    assert [(c.event, c.table, c.operation) for c in seen] == [  # type: ignore[attr-defined]
        (HookEvent.BEFORE_DB_WRITE, "checkpoints", "insert"),
        (HookEvent.AFTER_DB_WRITE, "checkpoints", "insert"),
    ]
    kernel.hooks.register_hook("no", lambda context: False, [HookEvent.BEFORE_DB_WRITE])
    with pytest.raises(OperationVetoed):
        kernel.save({"a": 3}, step=3)
    kernel.hooks.unregister_hook("no")
    assert set(kernel.backends.open("vault").list_ids()) == {r.id for r in kernel.records.list_checkpoints()}
    assert first in {r.id for r in kernel.records.list_checkpoints()}
