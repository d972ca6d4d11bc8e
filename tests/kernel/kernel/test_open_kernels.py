"""Which kernels are open, and that each of them ends whatever fails on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.contracts import RunStatus
from model_checkpoint.errors import (
    AmbiguousKernelError,
    ConfigurationError,
    KernelClosedError,
    NoKernelError,
    RecordStoreError,
    UnknownSchemeError,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel, hookimpl
from model_checkpoint.kernel import open_kernels as module


def opened(folder: Path, **options: Any) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/e.db", quiet=True, **options)


def test_the_one_open_kernel_is_the_current_one_and_none_is_an_error_that_says_how_to_open_one(tmp_path: Path) -> None:
    with pytest.raises(NoKernelError, match=r"no kernel is open: call Kernel\.open\(\.\.\.\)"):
        Kernel.current()
    with opened(tmp_path) as kernel:
        assert Kernel.current() is kernel
        assert Kernel.open_kernels() == [kernel]
    assert Kernel.open_kernels() == []


def test_several_open_kernels_are_told_apart_by_where_they_are_without_a_password(tmp_path: Path) -> None:
    secret = f"sqlite:///{tmp_path}/two.db?password=s3cret"
    with opened(tmp_path / "a"), opened(tmp_path / "b") as second:
        object.__setattr__(second.config, "database", type(second.config.database)(secret))
        with pytest.raises(AmbiguousKernelError) as refused:
            Kernel.current()
        assert "2 kernels are open" in str(refused.value)
        assert f"{tmp_path}/a/e.db" in str(refused.value)
        assert "password=***" in str(refused.value)
        assert "s3cret" not in str(refused.value)
        assert "with kernel=" in str(refused.value)


def test_a_url_of_an_unknown_scheme_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(UnknownSchemeError) as refused:
        Kernel.open("mysql://ada:s3cret@db/x", checkpoint_dir=tmp_path, quiet=True)
    assert "'mysql'" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_what_is_printed_at_open_shows_where_things_are_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Kernel.open("sqlite:///e.db").close()
    line = capsys.readouterr().err
    assert line == f"records sqlite:///{tmp_path}/e.db, checkpoints {tmp_path}/checkpoints (vault)\n"
    Kernel.open("sqlite:///e.db", quiet=True).close()
    assert capsys.readouterr().err == ""


def test_a_checkpoint_directory_that_is_a_file_is_told_at_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"checkpoint_dir .*/file is a file: name a directory"):
        opened(tmp_path, checkpoint_dir=tmp_path / "file")
    assert Kernel.open_kernels() == []


def test_a_database_that_is_a_directory_is_told_at_open(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a directory; a SQLite URL names a file in it"):
        Kernel.open(f"sqlite:///{tmp_path}", quiet=True)


def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "b") as kernel:
        kernel.save({"a": 1})
    assert (tmp_path / "a" / "b" / "checkpoints").is_dir()


def test_a_kernel_that_does_not_open_whole_is_closed_again(tmp_path: Path) -> None:
    class Refuses:
        @hookimpl(on_error="abort")
        def on_system_start(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opened(tmp_path, register=[Refuses()])
    assert Kernel.open_kernels() == []


def test_a_hook_on_the_start_finds_the_kernel(tmp_path: Path) -> None:
    seen: list[object] = []

    class Looks:
        @hookimpl
        def on_system_start(self, kernel: Kernel) -> None:
            seen.append(Kernel.current() is kernel)

    opened(tmp_path, register=[Looks()], strict=True).close()
    assert seen == [True]


def break_records(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RecordStoreError("the disk is gone")

    for name in ("append_metrics", "update_run", "best_flags"):
        monkeypatch.setattr(kernel.records._store, name, fail)


def test_closing_closes_everything_although_nothing_can_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = opened(tmp_path)
    kernel.start_run("s", run="r")
    ended: list[Any] = []
    kernel.hooks.register_hook("see", ended.append, [HookEvent.ON_RUN_END, HookEvent.ON_SYSTEM_SHUTDOWN])
    kernel.log_metrics({"x": 1.0})
    break_records(kernel, monkeypatch)
    kernel.close()
    assert [context.event for context in ended] == [HookEvent.ON_RUN_END, HookEvent.ON_SYSTEM_SHUTDOWN]
    assert "its last metrics could not be recorded: the disk is gone" in caplog.text
    assert "its end could not be recorded: the disk is gone" in caplog.text
    assert Kernel.open_kernels() == []
    with pytest.raises(KernelClosedError):
        kernel.save({"a": 1})
    with pytest.raises(RecordStoreError, match="closed"):
        kernel.records.list_runs()
    with opened(tmp_path) as again:
        again.start_run("s", run="r")


@pytest.mark.parametrize("event", [HookEvent.ON_RUN_END, HookEvent.ON_SYSTEM_SHUTDOWN])
def test_a_strict_hook_that_fails_at_the_end_is_raised_after_everything_is_closed(
    tmp_path: Path, event: HookEvent
) -> None:
    kernel = opened(tmp_path, strict=True)
    kernel.start_run("s", run="r")
    kernel.hooks.register_hook("fail", lambda context: 1 / 0, [event])
    with pytest.raises(ZeroDivisionError):
        kernel.close()
    assert Kernel.open_kernels() == []
    kernel.close()
    with opened(tmp_path) as again:
        again.start_run("s", run="r")


def test_a_hook_on_the_end_of_a_run_still_saves_into_it(tmp_path: Path) -> None:
    with opened(tmp_path, strict=True) as kernel:
        kernel.hooks.register_hook("last", lambda context: kernel.save({"a": 1}, step=9), [HookEvent.ON_RUN_END])
        kernel.hooks.register_hook("log", lambda context: kernel.log_metrics({"x": 1.0}), [HookEvent.ON_RUN_END])
        with kernel.run("s") as run:
            pass
        assert [record.run_id for record in kernel.records.list_checkpoints()] == [run.id]
        assert [record.name for record in kernel.records.list_runs()] == ["s-1"]
        assert [point.name for point in kernel.records.read_metrics(run.id)] == ["x"]


def test_a_background_hook_is_waited_for_and_its_metrics_are_kept(tmp_path: Path) -> None:
    kernel = opened(tmp_path)

    def later(context: Any) -> None:
        kernel.log_metrics({"late": 1.0}, step=context.step)
        kernel.analyzer("performance")
        kernel.save({"b": 1}, step=context.step + 1) if context.step == 1 else None

    kernel.hooks.register_hook("later", later, [HookEvent.AFTER_CHECKPOINT_SAVE], priority=100)
    with kernel:
        kernel.save({"a": 1}, step=1)
    with opened(tmp_path) as again:
        run = again.records.list_runs()[0]
        assert {point.step for point in again.records.read_metrics(run.id)} == {1, 2}
        assert len(again.records.list_checkpoints()) == 2


def test_the_hooks_that_failed_are_named_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path) as kernel:
        kernel.hooks.register_hook("oops", lambda context: 1 / 0, [HookEvent.AFTER_CHECKPOINT_SAVE])
        kernel.save({"a": 1})
        kernel.save({"a": 2})
    assert "hook oops.after_checkpoint_save failed 2 of 2 times" in capsys.readouterr().err


def test_closing_all_closes_the_others_although_one_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kernels = [opened(tmp_path / name, strict=True) for name in "abc"]
    kernels[1].hooks.register_hook("fail", lambda context: 1 / 0, [HookEvent.ON_SYSTEM_SHUTDOWN])
    module.close_all()
    assert Kernel.open_kernels() == []
    assert "a kernel could not be closed in order: ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, (RunStatus.FINISHED, "")),
        (SystemExit(0), (RunStatus.FINISHED, "")),
        (SystemExit(), (RunStatus.FINISHED, "")),
        (SystemExit(2), (RunStatus.FAILED, "SystemExit: 2")),
        (KeyboardInterrupt(), (RunStatus.PREEMPTED, "interrupted from the keyboard")),
        (ValueError("x" * 1000), (RunStatus.FAILED, f"ValueError: {'x' * 488}")),
    ],
)
def test_how_a_run_ended_is_told_by_the_error_that_ended_it(
    error: BaseException | None, outcome: tuple[RunStatus, str]
) -> None:
    assert module.outcome(error) == outcome


def test_a_kernel_left_with_an_exception_says_how_its_run_ended(tmp_path: Path) -> None:
    def train() -> None:
        with opened(tmp_path) as kernel:
            kernel.start_run("s")
            raise ValueError("too big")

    with pytest.raises(ValueError, match="too big"):
        train()
    with opened(tmp_path) as kernel:
        run = kernel.records.get_run("s-1")
        assert run is not None
        assert (run.status, run.reason) == (RunStatus.FAILED, "ValueError: too big")


def test_threads_may_close_at_once(tmp_path: Path) -> None:
    kernel = opened(tmp_path)
    shutdowns: list[Any] = []
    kernel.hooks.register_hook("see", shutdowns.append, [HookEvent.ON_SYSTEM_SHUTDOWN])
    kernel.save({"a": 1})
    threads = [threading.Thread(target=kernel.close) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shutdowns) == 1


def test_a_later_change_of_the_working_directory_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Kernel.open("sqlite:///e.db", quiet=True) as kernel:
        first = kernel.save({"a": 1}, step=1)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        kernel.log_metrics({"x": 1.0})
        second = kernel.save({"a": 2}, step=2)
        assert {kernel.load(each)["a"] for each in (first, second)} == {1, 2}
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_forked_child_has_no_kernel_of_its_own_and_writes_none_of_its_parent_s_points(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys
        from model_checkpoint.errors import NoKernelError
        from model_checkpoint.kernel import Kernel

        kernel = Kernel.open("sqlite:///e.db", quiet=True)
        kernel.log_metrics({"parent": 1.0})
        if os.fork() == 0:
            try:
                Kernel.current()
            except NoKernelError:
                print("none is open")
            kernel.log_metrics({"child": 1.0})
            kernel.current_run().flush()
            sys.exit(0)
        os.wait()
        kernel.close()
        with Kernel.open("sqlite:///e.db", quiet=True) as kernel:
            run = kernel.records.list_runs()[0]
            print(sorted(point.name for point in kernel.records.read_metrics(run.id)))
        """)
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["none is open", "['child', 'parent']"], done.stderr
