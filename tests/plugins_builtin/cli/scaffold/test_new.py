"""``mce plugins new`` writes a whole distribution or nothing, under a name that can be one."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from model_checkpoint import contracts
from model_checkpoint.cli.scaffold import writing
from model_checkpoint.cli.scaffold.kinds import KINDS
from model_checkpoint.cli.scaffold.writing import checked_name, rendered
from model_checkpoint.errors import ConfigurationError, InvalidNameError, StorageError
from model_checkpoint.testing.faulty_fs import snapshot

Call = Callable[..., Result]


@pytest.mark.parametrize("kind", KINDS)
def test_a_distribution_has_everything_that_one_needs(kind: str, call: Call, tmp_path: Path) -> None:
    done = call("My_Thing", "--kind", kind, "--into", tmp_path)

    assert done.exit_code == 0, done.output
    written = set(snapshot(tmp_path / "mce-my-thing"))
    always = {"pyproject.toml", "README.md", "tests/test_manifest.py", "tests/test_my_thing.py"}
    package = {f"mce_my_thing/{name}" for name in ("__init__.py", "plugin.toml", "plugin.py", "py.typed")}
    assert always | package <= written
    assert f"mce_my_thing/{KINDS[kind].work}.py" in written
    assert [*tmp_path.iterdir()] == [tmp_path / "mce-my-thing"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_placeholder_is_left_and_every_module_says_what_it_is_for(kind: str) -> None:
    for path, text in rendered("my-thing", kind).items():
        assert not re.search(r"\$\{?[a-z]", text), path
        if path.endswith(".py"):
            assert ast.get_docstring(ast.parse(text)), path
        if path.endswith(".toml"):
            assert tomllib.loads(text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_point_and_the_manifest_name_one_plugin(kind: str) -> None:
    files = rendered("my-thing", kind)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    manifest = tomllib.loads(files["mce_my_thing/plugin.toml"])

    assert set(project["entry-points"]["model_checkpoint.plugins"]) == set(manifest["plugin"]) == {"my-thing"}
    assert project["dependencies"] == ["model-checkpoint-engine"]


def test_new_code_is_clean_and_formatted(projects: dict[str, Path]) -> None:
    rules = "E,F,W,I,UP,B,C4,SIM,RUF,PT,PIE,PERF,RET,TID,N"
    for project in projects.values():
        for command in (["check", "--select", rules, "--ignore", "N818,B027"], ["format", "--check"]):
            ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", "--line-length", "120", "."]
            done = subprocess.run(ruff, cwd=project, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_new_code_passes_the_type_checker(kind: str, projects: dict[str, Path]) -> None:
    (package,) = projects[kind].glob("mce_*")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(projects["hook"].parent / "cache"), package]
    done = subprocess.run(mypy, cwd=projects[kind], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "name"),
    [("best-log", "best-log"), ("My_Store", "my-store"), ("a.b__c", "a-b-c"), ("mce-x", "x"), ("3d", "3d"), ("X", "x")],
)
def test_a_name_is_normalised(given: str, name: str) -> None:
    assert checked_name(given) == name


@pytest.mark.parametrize(
    "name",
    ["", "-x", "x-", "../x", "a/b", "a b", "é", "x\n", "nul\0", "x" * 51, "x" * 10_000, ".", "..", "\ud800", "class",
     "match", "manifest", "mce", "mce-import", "$name", "a;b", "C:\\x"],
    ids=lambda name: ascii(name)[:20],
)  # fmt: skip
def test_what_cannot_be_a_name_is_refused_and_nothing_is_written(name: str, call: Call, tmp_path: Path) -> None:
    with pytest.raises(InvalidNameError, match="cannot be the name"):
        checked_name(name)
    done = call("--kind", "hook", "--into", tmp_path, "--", name)

    assert done.exit_code != 0
    assert snapshot(tmp_path) == {}


def test_the_name_of_a_plugin_that_ships_with_the_engine_is_refused() -> None:
    with pytest.raises(InvalidNameError, match="'sqlite' ships with the engine"):
        checked_name("SQLite")


def test_a_kind_that_is_not_known_is_refused_with_those_that_are(call: Call, tmp_path: Path) -> None:
    done = call("x", "--kind", "storages", "--into", tmp_path)

    assert done.exit_code == 2
    assert all(kind in done.output for kind in KINDS)


def test_every_contract_of_a_kind_can_be_begun() -> None:
    descriptors = {name for name in contracts.__all__ if name.endswith("Descriptor")} - {"Descriptor"}
    begun = {
        "StorageBackendDescriptor": "storage",
        "RecordStoreDescriptor": "record-store",
        "FrameworkAdapterDescriptor": "adapter",
        "AnalyzerDescriptor": "analyzer",
        "CodecDescriptor": "codec",
        "CommandDescriptor": "command",
        "SaveDecisionDescriptor": "save-decision",
    }
    assert {begun[name] for name in descriptors} | {"hook"} == set(KINDS)


def test_a_folder_that_exists_is_left_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mce-x").mkdir()
    (tmp_path / "mce-x/README.md").write_text("mine")
    done = call("x", "--kind", "hook", "--into", tmp_path)

    assert isinstance(done.exception, ConfigurationError)
    assert "--force" in str(done.exception)
    assert snapshot(tmp_path) == {"mce-x/README.md": b"mine"}


def test_with_force_files_of_the_same_names_are_replaced_and_others_stay(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mce-x").mkdir()
    (tmp_path / "mce-x/README.md").write_text("mine")
    (tmp_path / "mce-x/notes").write_text("mine too")
    done = call("x", "--kind", "hook", "--into", tmp_path, "--force")

    found = snapshot(tmp_path)
    assert done.exit_code == 0
    assert found["mce-x/notes"] == b"mine too"
    assert found["mce-x/README.md"].startswith(b"# mce-x")
    assert {path.split("/")[0] for path in found} == {"mce-x"}


@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_no_folder_is_not_replaced_even_with_force(what: str, call: Call, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = tmp_path / "mce-x"
    target.write_text("mine") if what == "file" else target.symlink_to(elsewhere)
    done = call("x", "--kind", "hook", "--into", tmp_path, "--force")

    assert isinstance(done.exception, ConfigurationError)
    assert [*elsewhere.iterdir()] == []


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    files = {**rendered("x", "hook"), "x" * 300: "a name that no file system takes"}
    with pytest.raises(OSError, match="name"):
        writing.write(files, tmp_path / "mce-x", force=False)

    assert [*tmp_path.iterdir()] == []


def test_a_replacement_that_fails_half_way_gives_back_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "mce-x"
    (target / "tests").mkdir(parents=True)
    (target / "README.md").write_text("mine")
    (target / "mce_x").write_text("a file where a folder has to be")
    before = snapshot(tmp_path)
    with pytest.raises(OSError, match="mce_x"):
        writing.write(rendered("x", "hook"), target, force=True)

    assert snapshot(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_one_sentence(call: Call, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        done = call("x", "--kind", "hook", "--into", tmp_path)

    assert isinstance(done.exception, StorageError)
    assert "No space left on device" in str(done.exception)
    assert [*tmp_path.iterdir()] == []


def test_new_files_may_be_changed_by_their_owner(call: Call, tmp_path: Path) -> None:
    call("x", "--kind", "hook", "--into", tmp_path)

    assert all(path.stat().st_mode & stat.S_IWUSR for path in tmp_path.rglob("*"))
