"""Starting a run: processes that start at once never get into each other's way, and a refused start leaves nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.contracts import RunStatus
from model_checkpoint.errors import (
    ConfigurationError,
    OperationVetoed,
    RunInUseError,
    StorageError,
    UnstorableStateError,
)
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

SCRIPT = """
import sys
from model_checkpoint.kernel import Kernel

url, directory, run, adopt = sys.argv[1:]
with Kernel.open(url, checkpoint_dir=directory, storage_backend="memory", quiet=True) as kernel:
    sys.stdin.readline()
    session = kernel.start_run("s", run=run or None, adopt=adopt == "adopt")
    kernel.save({"a": 1}, step=1)
    print(session.name, flush=True)
    sys.stdin.readline()
"""


def opened(folder: Path, **options: Any) -> Kernel:
    options = {"storage_backend": "memory", "strict": True, **options}
    return Kernel.open(f"sqlite:///{folder}/e.db", quiet=True, **options)


class Processes:
    """Processes that all start a run at the same moment, and hold it until they are told to end."""

    def __init__(self, folder: Path, count: int, *, run: str = "", adopt: str = "", directories: bool = False) -> None:
        script = folder / "train.py"
        script.write_text(textwrap.dedent(SCRIPT))
        self.children = [
            subprocess.Popen(
                [sys.executable, str(script), f"sqlite:///{folder}/e.db", f"{folder}/c{n * directories}", run, adopt],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for n in range(count)
        ]  # fmt: skip

    def names(self) -> list[str]:
        """Let all begin, and return the name of each one's run; empty where it was refused."""
        for child in self.children:
            self._go_on(child)
        return [child.stdout.readline().strip() for child in self.children]  # type: ignore[union-attr]

    def end(self) -> list[str]:
        """Let all end, and return what each wrote to its standard error."""
        for child in self.children:
            self._go_on(child)
        return [child.communicate()[1] for child in self.children]

    @staticmethod
    def _go_on(child: subprocess.Popen[str]) -> None:
        assert child.stdin is not None
        try:
            child.stdin.write("\n")
            child.stdin.flush()
        except BrokenPipeError:
            pass


def statuses(folder: Path) -> dict[str, str]:
    with opened(folder) as kernel:
        return {run.name: run.status.value for run in kernel.records.list_runs()}


@pytest.mark.parametrize("adopt", ["", "adopt"])
def test_processes_that_start_at_once_each_get_a_run_of_their_own(tmp_path: Path, adopt: str) -> None:
    processes = Processes(tmp_path, 4, adopt=adopt)
    names = processes.names()
    assert sorted(names) == [f"s-{n}" for n in range(1, 5)]
    assert set(statuses(tmp_path).values()) == {"running"}
    assert [error for error in processes.end() if error] == []
    assert set(statuses(tmp_path).values()) == {"finished"}


@pytest.mark.parametrize("directories", [("c", "c"), ("c", "d")])
@pytest.mark.parametrize("adopt", [False, True])
def test_a_run_that_is_recorded_and_not_locked_yet_is_not_taken_for_a_dead_one(
    tmp_path: Path, adopt: bool, directories: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / name for name in directories]
    with opened(tmp_path, checkpoint_dir=places[0]) as one, opened(tmp_path, checkpoint_dir=places[1]) as two:
        create, recorded = one.records.create_run, threading.Event()

        def slow(*arguments: Any, **options: Any) -> Any:
            made = create(*arguments, **options)
            recorded.set()
            threading.Event().wait(0.3)
            return made

        monkeypatch.setattr(one.records, "create_run", slow)
        names: list[str] = []
        first = threading.Thread(target=lambda: names.append(one.start_run("s").name))
        first.start()
        recorded.wait(10)
        assert two.start_run("s", adopt=adopt).name == "s-2"
        first.join()
        assert names == ["s-1"]
        assert {run.status for run in two.records.list_runs()} == {RunStatus.RUNNING}


def test_of_processes_that_start_one_named_run_at_once_one_gets_it_and_the_others_are_told(tmp_path: Path) -> None:
    processes = Processes(tmp_path, 4, run="mine")
    names = processes.names()
    assert sorted(names) == ["", "", "", "mine"]
    errors = processes.end()
    refused = [error for error in errors if "RunInUseError" in error]
    assert len(refused) == 3
    assert all("run 'mine' is being written by another live process: stop it first" in error for error in refused)


@pytest.mark.parametrize("adopt", ["", "adopt"])
def test_a_live_run_is_left_alone_also_by_who_keeps_checkpoints_in_another_directory(
    tmp_path: Path, adopt: str
) -> None:
    processes = Processes(tmp_path, 3, adopt=adopt, directories=True)
    names = processes.names()
    assert sorted(names) == ["s-1", "s-2", "s-3"]
    assert set(statuses(tmp_path).values()) == {"running"}
    processes.end()


def test_a_run_that_goes_on_in_another_directory_is_locked_in_both(tmp_path: Path) -> None:
    places = [tmp_path / name for name in "abc"]
    with opened(tmp_path, checkpoint_dir=places[0]) as kernel, pytest.raises(ZeroDivisionError), kernel.run("s"):
        _ = 1 / 0
    with (
        opened(tmp_path, checkpoint_dir=places[1]) as one,
        opened(tmp_path, checkpoint_dir=places[2]) as two,
        opened(tmp_path, checkpoint_dir=places[0]) as three,
    ):
        started = [kernel.start_run("s", adopt=True).name for kernel in (one, two, three)]
        assert started == ["s-1", "s-2", "s-3"]


def test_a_run_in_a_directory_that_one_may_not_touch_is_nobody_s_hindrance(tmp_path: Path) -> None:
    with opened(tmp_path, checkpoint_dir=tmp_path / "theirs") as kernel:
        kernel.start_run("s")
        kernel.records.update_run(kernel.current_run().id, status=RunStatus.RUNNING)
        kernel._session._ending = True  # type: ignore[union-attr]  # as if it had died
    lock = tmp_path / "theirs" / "runs" / "s-1" / "lock"
    lock.unlink()
    lock.mkdir()
    with opened(tmp_path, checkpoint_dir=tmp_path / "mine") as kernel:
        assert kernel.start_run("s", adopt=True).name == "s-2"
        assert {run.name: run.status for run in kernel.records.list_runs()}["s-1"] is RunStatus.RUNNING


def test_a_process_that_died_before_it_came_to_lock_its_run_is_found_dead_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as kernel:
        home = kernel.records.ensure_experiment("s")
        kernel.records.create_run(home.id)
        with kernel.run("s"):
            pass
        assert statuses(tmp_path)["s-1"] == "running"
        monkeypatch.setattr("model_checkpoint.kernel.runs.START_TIMEOUT_S", 0.0)
        with kernel.run("s"):
            pass
        assert statuses(tmp_path)["s-1"] == "crashed"


def test_two_record_stores_in_one_directory_never_share_a_run_s_lock(tmp_path: Path) -> None:
    options = {"checkpoint_dir": tmp_path / "c", "storage_backend": "memory", "quiet": True}
    with Kernel.open("sqlite:///:memory:", **options) as one, Kernel.open("sqlite:///:memory:", **options) as two:  # type: ignore[arg-type]
        assert (one.start_run("s").name, two.start_run("s").name) == ("s-1", "s-2")


def test_threads_begin_one_run_between_them(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        names: list[str] = []
        threads = [threading.Thread(target=lambda: names.append(kernel.current_run().name)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(names)) == 1
        assert len(kernel.records.list_runs()) == 1


def test_a_start_that_is_vetoed_leaves_a_run_that_was_there_before_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        with kernel.run("s", run="old"):
            kernel.save({"a": 1})
        kernel.hooks.register_hook("no", lambda context: False, [HookEvent.ON_RUN_START])
        for name in ("old", None):
            with pytest.raises(OperationVetoed):
                kernel.start_run("s", run=name)
        assert {run.name: run.status for run in kernel.records.list_runs()} == {
            "old": RunStatus.FINISHED, "s-1": RunStatus.FAILED,
        }  # fmt: skip
        kernel.hooks.unregister_hook("no")
        assert kernel.start_run("s", run="old").name == "old"


def test_a_strict_hook_that_fails_lets_go_of_the_run(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.hooks.register_hook("fail", lambda context: 1 / 0, [HookEvent.ON_RUN_START])
        with pytest.raises(ZeroDivisionError):
            kernel.start_run("s", run="r")
        kernel.hooks.unregister_hook("fail")
        assert kernel.active_run is None
        assert kernel.start_run("s", run="r").name == "r"


def test_a_run_that_another_kernel_of_this_process_holds_is_in_use(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as two:
        one.start_run("s", run="r")
        with pytest.raises(RunInUseError):
            two.start_run("s", run="r")
        one.end_run()
        assert two.start_run("s", run="r").name == "r"


def test_a_run_that_was_begun_in_one_thread_may_be_ended_in_another(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        thread = threading.Thread(target=kernel.log_metrics, args=({"x": 1.0},))
        thread.start()
        thread.join()
        name = kernel.current_run().name
        kernel.end_run()
        assert kernel.start_run("s", run=name).name == name


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"config": {"lr": float("nan"), "clip": {"norm": float("inf")}}},
            ConfigurationError,
            r"config\.clip\.norm: inf",
        ),
        ({"config": {"model": {"activation": print}}}, UnstorableStateError, r"config\.model\.activation"),
        ({"config": [("lr", 0.1)]}, ConfigurationError, "config is a list: give a mapping"),
        ({"tags": "dev"}, ConfigurationError, "tags='dev' is a str"),
        ({"tags": {"seed": 1}}, ConfigurationError, "these are not: 'seed': 1"),
    ],
)
def test_what_cannot_be_recorded_of_a_run_is_named_and_no_run_begins(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with opened(tmp_path) as kernel:
        with pytest.raises(error, match=message):
            kernel.start_run("s", **arguments)
        assert kernel.records.list_runs() == []


def test_config_of_python_s_own_types_comes_back_as_it_was(tmp_path: Path) -> None:
    config: Any = {"betas": (0.9, 0.999), "data": Path("/data"), "layers": [1, {"width": 2**70}]}
    with opened(tmp_path) as kernel, kernel.run("s", config=config) as run:
        record = kernel.records.get_run(run.id)
        assert record is not None
        assert record.config == config


def test_hooks_may_change_the_tags_of_an_experiment_and_of_a_run(tmp_path: Path) -> None:
    with opened(tmp_path) as kernel:
        kernel.hooks.register_hook(
            "first", lambda context: {"tags": {**context.tags, "by": "hook"}}, [HookEvent.ON_EXPERIMENT_START]
        )
        kernel.hooks.register_hook(
            "second", lambda context: {"tags": {**context.tags, "more": ""}}, [HookEvent.ON_RUN_START]
        )
        with kernel.run("s", tags=["dev"]) as run:
            record = kernel.records.get_run(run.id)
        assert record is not None
        assert record.tags == {"dev": "", "by": "hook", "more": ""}


def test_a_directory_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with opened(tmp_path, checkpoint_dir=tmp_path / "file" / "c") as kernel:
        with pytest.raises(StorageError, match=r"preparing .*/file/c/runs"):
            kernel.start_run("s")
        assert kernel.records.list_runs() == []
