"""``hooks``: who listens, and what a script's hooks do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SCRIPT = """
import sys
from model_checkpoint.kernel import Kernel, hookimpl

class Watch:
    @hookimpl
    def after_checkpoint_save(self, context):
        if "--break" in sys.argv:
            raise ValueError("a hook that fails")

kernel = Kernel.open("sqlite:///script.db", quiet=True, register=[Watch()], storage_backend="memory")
kernel.start_run("x")
kernel.save({"w": 1}, step=3)
print("arguments", *sys.argv[1:])
if "--fail" in sys.argv:
    raise ValueError("the script itself")
sys.exit(7)
"""


@pytest.fixture
def script() -> Path:
    path = Path("train.py")
    path.write_text(SCRIPT)
    return path


def test_the_hooks_of_plugins_that_wait_are_listed_as_declared(mce_json) -> None:
    rows = mce_json("hooks", "list", "--event", "after_checkpoint_save")

    assert {(row["plugin"], row["state"]) for row in rows} >= {("performance", "waiting")}
    assert {row["hook"] for row in rows} == {"after_checkpoint_save"}


def test_stats_counts_calls_and_errors_and_leaves_output_and_status_to_the_script(run_mce, script) -> None:
    result = run_mce("hooks", "stats", "--json", "-o", "stats.json", script, "--break", "x")
    lines = {(line["plugin"], line["hook"]): line for line in json.loads(Path("stats.json").read_text())}

    assert result.returncode == 7
    assert result.stdout == "arguments --break x\n"
    assert lines["Watch", "after_checkpoint_save"]["calls"] == 1
    assert lines["Watch", "after_checkpoint_save"]["errors"] == 1
    assert not [plugin for plugin, _ in lines if plugin.startswith("mce-")]


def test_stats_prints_a_table_to_the_standard_error(run_mce, script) -> None:
    result = run_mce("hooks", "stats", script)

    assert "arguments\n" in result.stdout
    assert any(line.startswith("Watch") for line in result.stderr.splitlines())


def test_trace_tells_events_and_calls_in_their_order(run_mce, script) -> None:
    result = run_mce("hooks", "trace", "--json", "-o", "-", script)
    told = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    events = [each["event"] for each in told]

    assert result.returncode == 7
    assert events.index("before_checkpoint_save") < events.index("after_checkpoint_save") < events.index("on_run_end")
    saved = events.index("after_checkpoint_save")
    assert told[saved]["step"] == 3
    calls = [each for each in told[saved + 1 :] if each["event"] == "call"]
    assert "Watch.after_checkpoint_save" in [each["hook"] for each in calls]


def test_trace_may_be_of_one_event_alone(run_mce, script) -> None:
    result = run_mce("hooks", "trace", "--event", "on_run_start", script)

    assert "on_run_start" in result.stderr
    assert "on_run_end" not in result.stderr


def test_a_script_that_fails_shows_its_own_traceback_alone(run_mce, script) -> None:
    result = run_mce("hooks", "trace", script, "--fail")

    assert result.returncode == 1
    trace = result.stderr[result.stderr.index("Traceback") :]
    assert "ValueError: the script itself" in trace
    assert "runpy" not in trace
    assert "tracing.py" not in trace
    assert "reason=ValueError: the script itself" in trace  # its run did not finish


def test_a_trace_in_a_file_is_whole_where_a_script_leaves_its_kernel_open(run_mce, script) -> None:
    result = run_mce("hooks", "trace", "-o", "trace.txt", script)

    assert "closed file" not in result.stderr
    assert "on_run_end" in Path("trace.txt").read_text()


def test_trace_tells_by_which_metric_a_checkpoint_is_the_best(run_mce, script) -> None:
    script.write_text(SCRIPT.replace("step=3)", "step=3, metrics={'loss': 1.0, 'accuracy': 0.5})"))
    result = run_mce("hooks", "trace", "--event", "on_best_model_update", script)

    assert "metric=loss" in result.stderr
    assert "metric=accuracy" in result.stderr


def test_stats_of_a_script_that_calls_no_hook_say_so(run_mce) -> None:
    Path("nothing.py").write_text("print('done')")

    assert run_mce("hooks", "stats", "nothing.py").stderr == "no hook was called\n"
