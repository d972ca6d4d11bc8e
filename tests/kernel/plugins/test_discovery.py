"""Finding plugins by entry point, without importing one."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.plugins import discover

Install = Callable[..., None]


def found_names() -> list[tuple[str, str]]:
    return [(plugin.name, plugin.distribution) for plugin in discover()]


def test_the_built_ins_come_through_the_same_door(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    declared = project["entry-points"]["model_checkpoint.plugins"]
    found = {plugin.name: plugin for plugin in discover()}
    assert {name: found[name].target for name in declared} == declared
    assert all(found[name].is_builtin for name in declared)


def test_an_installed_plugin_is_found_with_name_target_and_version_and_not_imported(install: Install) -> None:
    install("mce-thing", {"thing": "mce_thing:Plugin"}, version="2.5", mce_thing="raise SystemError('imported')")
    (plugin,) = [plugin for plugin in discover() if plugin.name == "thing"]
    assert (plugin.target, plugin.distribution, plugin.version) == ("mce_thing:Plugin", "mce-thing", "2.5")
    assert not plugin.is_builtin
    assert "mce_thing" not in sys.modules


def test_plugins_are_sorted_by_name_and_of_one_name_the_built_in_comes_first(install: Install) -> None:
    install("aaa", {"sqlite": "aaa", "zzz": "aaa"}, aaa="")
    names = found_names()
    assert [name for name, _ in names] == sorted(name for name, _ in names)
    assert [owner for name, owner in names if name == "sqlite"] == ["model-checkpoint-engine", "aaa"]


def test_what_a_botched_uninstall_left_behind_stops_nobody(install: Install, tmp_path: Path) -> None:
    install("mce-ghost", {"memory": "gone"})
    (tmp_path / "site-packages" / "mce_ghost-1.0.dist-info" / "METADATA").unlink()
    assert ("memory", "") in found_names()


def test_an_entry_point_of_another_group_is_no_plugin(install: Install, tmp_path: Path) -> None:
    install("mce-other", {"other": "mce_other"})
    entry_points = tmp_path / "site-packages" / "mce_other-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[console_scripts]\nother = mce_other:main\n")
    assert "other" not in [name for name, _ in found_names()]


def test_loading_gives_the_module_or_the_object_in_it(install: Install) -> None:
    install("mce-two", {"whole": "mce_two", "part": "mce_two:Part"}, mce_two="class Part: pass")
    found = {plugin.name: plugin for plugin in discover()}
    module = found["whole"].load()
    assert found["part"].load() is module.Part  # type: ignore[attr-defined]


def test_loading_what_is_not_there_raises(install: Install) -> None:
    install("mce-lost", {"lost": "mce_lost_and_not_found"})
    (plugin,) = [plugin for plugin in discover() if plugin.name == "lost"]
    with pytest.raises(ImportError):
        plugin.load()


def test_a_stray_init_file_in_the_namespace_is_told(repository: Path, tmp_path: Path) -> None:
    package = tmp_path / "model_checkpoint"
    package.mkdir()
    for portion in ("kernel", "plugins_builtin"):
        for part in (repository / portion / "model_checkpoint").iterdir():
            (package / part.name).symlink_to(part)
    (package / "__init__.py").touch()
    program = "import logging; logging.basicConfig(); from model_checkpoint.plugins import discover; discover()"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert f"{package}/__init__.py makes a plain package of the namespace 'model_checkpoint'" in done.stderr
