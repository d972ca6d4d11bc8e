"""What a user disabled stays disabled, for one environment, whatever happens to the process that wrote it down."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from model_checkpoint.errors import RecordStoreDamagedError
from model_checkpoint.plugins.states import PluginStates, states_file

WRITES_FOREVER = """
import sys
from pathlib import Path
from model_checkpoint.plugins.states import PluginStates
states = PluginStates(Path(sys.argv[1]), environment="e")
states.disable("first")
print("ready", flush=True)
n = 0
while True:
    states.disable(f"plugin-{n % 50}", "x" * 1000)
    n += 1
"""


def test_a_disabled_plugin_stays_disabled_until_it_is_enabled(tmp_path: Path) -> None:
    PluginStates(tmp_path / "p.json").disable("s3", "too slow")
    again = PluginStates(tmp_path / "p.json")
    assert again.disabled() == {"s3": "too slow"}
    assert again.enable("s3") is True
    assert again.enable("s3") is False
    assert PluginStates(tmp_path / "p.json").disabled() == {}


def test_disabling_twice_keeps_the_last_reason(tmp_path: Path) -> None:
    states = PluginStates(tmp_path / "p.json")
    states.disable("s3", "one")
    states.disable("s3", "two")
    assert states.disabled() == {"s3": "two"}


def test_each_environment_has_its_own(tmp_path: Path) -> None:
    PluginStates(tmp_path / "p.json", environment="/a").disable("s3")
    other = PluginStates(tmp_path / "p.json", environment="/b")
    assert other.disabled() == {}
    assert other.enable("s3") is False
    assert PluginStates(tmp_path / "p.json", environment="/a").disabled() == {"s3": ""}


def test_where_nothing_was_disabled_nothing_is_written_and_tinydb_is_not_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from model_checkpoint.plugins.states import PluginStates;"
        "print(PluginStates(Path(sys.argv[1])).disabled(), 'tinydb' in sys.modules)"
    )
    path = tmp_path / "p.json"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["{}", "False"]
    assert not path.exists()


def test_the_file_lies_in_mce_home_or_where_programs_keep_their_state(tmp_path: Path) -> None:
    assert states_file({"MCE_HOME": str(tmp_path)}) == tmp_path / "plugins.json"
    assert states_file({}).name == "plugins.json"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b'{"_default": '], ids=repr)
def test_a_damaged_file_disables_nobody_loudly_and_is_not_overwritten(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "model_checkpoint"):
        assert PluginStates(path).disabled() == {}
    assert str(path) in caplog.text
    with pytest.raises(RecordStoreDamagedError, match=r"p\.json"):
        PluginStates(path).disable("s3")
    assert path.read_bytes() == content


def test_a_kill_at_any_moment_leaves_a_whole_document(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", WRITES_FOREVER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.wait()
        process.stdout.close()
        json.loads(path.read_text("utf-8"))
        assert "first" in PluginStates(path, environment="e").disabled()


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from model_checkpoint.plugins.states import PluginStates\n"
        "for n in range(10): PluginStates(Path(sys.argv[1]), environment='e').disable(f'{sys.argv[2]}-{n}')"
    )
    path = tmp_path / "p.json"
    workers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "ab"]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert sorted(PluginStates(path, environment="e").disabled()) == sorted(f"{n}-{i}" for n in "ab" for i in range(10))
