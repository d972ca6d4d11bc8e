"""Listing entry points: the same whichever metadata library is there, and whatever lies about in the folders."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from model_checkpoint.errors import PluginLoadError
from model_checkpoint.plugins.metadata import RawEntryPoint, entry_points

GROUP = "some.plugins"
LINES = f"[{GROUP}]\nthing = mce_thing:Plugin\n"


class Site:
    """A folder on ``sys.path`` with what an installer, or a failure of one, leaves there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def install(
        self,
        distribution: str = "mce-thing",
        version: str = "1.0",
        lines: str | bytes | None = LINES,
        *,
        headers: Iterable[str] = (),
        suffix: str = "dist-info",
        **files: str,
    ) -> Path:
        """Make the folder of one distribution and return it; `files` are named with ``_`` for the dot."""
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.{suffix}"
        info.mkdir()
        start = ["Metadata-Version: 2.4", f"Name: {distribution}", f"Version: {version}"]
        text = "\n".join([*start, *headers, "", "Requires-Dist: no-header", ""])
        (info / ("METADATA" if suffix == "dist-info" else "PKG-INFO")).write_text(text, "utf-8")
        if lines is not None:
            (info / "entry_points.txt").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
        for name, content in files.items():
            (info / name.replace("_json", ".json")).write_text(content, "utf-8")
        importlib.invalidate_caches()
        return info


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, Site]]:
    """Two folders at the start of ``sys.path``: first and second."""
    both = {name: Site(tmp_path / name) for name in ("first", "second")}
    monkeypatch.setattr(sys, "path", [*(str(site.folder) for site in both.values()), *sys.path])
    yield both
    importlib.invalidate_caches()


@pytest.fixture
def site(sites: Mapping[str, Site]) -> Site:
    """The first folder on ``sys.path``."""
    return sites["first"]


def found() -> list[tuple[str, str, str, str]]:
    return [(point.name, point.value, point.distribution, point.version) for point in entry_points(GROUP)]


def only() -> RawEntryPoint:
    (point,) = entry_points(GROUP)
    return point


def test_an_entry_point_has_name_value_distribution_and_version(site: Site) -> None:
    site.install(version="2.5")
    assert found() == [("thing", "mce_thing:Plugin", "mce-thing", "2.5")]


def test_what_is_installed_here_is_listed_as_the_library_lists_it() -> None:
    for group in ("console_scripts", "pytest11", "model_checkpoint.plugins", "none.such"):
        listed = {
            (point.name, point.value, point.dist.name, point.dist.version)
            for point in importlib.metadata.entry_points(group=group)
        }
        assert {(p.name, p.value, p.distribution, p.version) for p in entry_points(group)} == listed


def test_requirements_are_read_from_the_headers_alone_and_on_demand(site: Site) -> None:
    info = site.install(headers=["Requires-Dist: boto3 >=1.2", "Requires-Dist: mce-x; extra == 's3'"])
    point = only()
    assert point.requires_dist() == ["boto3 >=1.2", "mce-x; extra == 's3'"]
    (info / "METADATA").unlink()
    assert point.requires_dist() == []


def test_loading_gives_the_module_or_the_object_in_it(site: Site) -> None:
    site.install(lines=f"[{GROUP}]\nwhole = mce_loaded\npart = mce_loaded : Part.inner [extra]\n")
    (site.folder / "mce_loaded.py").write_text("class Part:\n    inner = 7\n")
    try:
        whole, part = entry_points(GROUP)
        assert "mce_loaded" not in sys.modules
        assert whole.load() is sys.modules["mce_loaded"]
        assert part.load() == 7
    finally:
        sys.modules.pop("mce_loaded", None)


@pytest.mark.parametrize("value", ["", "a b", "../x", ".x", "a:b:c", "a:", "os; rm", "a-b", "a..b"])
def test_a_value_that_names_nothing_is_listed_and_refused_when_it_is_loaded(site: Site, value: str) -> None:
    site.install(lines=f"[{GROUP}]\nthing = {value}\n")
    with pytest.raises(
        PluginLoadError, match=r"the entry point 'thing' of mce-thing names .*: it must be package\.module"
    ):
        only().load()


def test_a_line_without_a_value_is_listed_so_that_somebody_is_told_and_one_without_a_name_is_not(site: Site) -> None:
    site.install(lines=f"[{GROUP}]\nthing\n= y\n=\nother = x\n")
    assert [(name, value) for name, value, *_ in found()] == [("thing", ""), ("other", "x")]


def test_comments_and_other_groups_are_no_entry_points_and_a_group_may_come_twice(site: Site) -> None:
    site.install(
        lines=f"# {GROUP}\n[x]\na = b\n[{GROUP}]\n# c = d\n\n  e  =  f  \n[{GROUP}.more]\ng = h\n[{GROUP}]\ni = j"
    )
    assert [(name, value) for name, value, *_ in found()] == [("e", "f"), ("i", "j")]


def test_the_same_line_twice_is_one_entry_point_and_two_targets_of_one_name_are_two(site: Site) -> None:
    site.install(lines=f"[{GROUP}]\na = x\na = x\na = y\n")
    assert [(name, value) for name, value, *_ in found()] == [("a", "x"), ("a", "y")]


def test_of_two_installations_the_first_on_the_path_counts_though_the_other_is_newer(sites: Mapping[str, Site]) -> None:
    sites["second"].install(version="2.0")
    sites["first"].install(version="1.0")
    assert [version for *_, version in found()] == ["1.0"]


def test_the_first_installation_counts_even_if_it_has_no_entry_points(sites: Mapping[str, Site]) -> None:
    sites["second"].install(version="2.0")
    sites["first"].install("MCE_thing", version="1.0", lines=None)
    assert found() == []


def test_of_two_installations_in_one_folder_the_newest_counts(site: Site) -> None:
    for version in ("1.9", "1.10", "1.2"):
        site.install(version=version)
    assert [version for *_, version in found()] == ["1.10"]


def test_what_an_uninstall_left_behind_counts_only_where_nothing_else_is(sites: Mapping[str, Site]) -> None:
    (sites["first"].install(version="1.0") / "METADATA").unlink()
    assert found() == [("thing", "mce_thing:Plugin", "", "")]
    sites["second"].install(version="2.0")
    assert found() == [("thing", "mce_thing:Plugin", "mce-thing", "2.0")]


def test_the_path_decides_and_not_the_finder_that_is_asked_first(
    sites: Mapping[str, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = sites["second"].install(version="2.0")
    sites["first"].install(version="1.0")

    class Finder:
        @staticmethod
        def find_spec(*of: object) -> None: ...

        @staticmethod
        def find_distributions(context: object) -> list[importlib.metadata.Distribution]:
            return [importlib.metadata.Distribution.at(later)]

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    assert [version for *_, version in found()] == ["1.0"]


def test_within_a_folder_distributions_are_in_the_order_of_their_names(site: Site) -> None:
    names = [f"mce-{letter}" for letter in "gbhaecfd"]
    for name in names:
        site.install(name)
    assert [distribution for _, _, distribution, _ in found()] == sorted(names)


def test_a_folder_that_comes_twice_on_the_path_is_read_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install()
    monkeypatch.setattr(sys, "path", [f"{site.folder}/", *sys.path, str(site.folder), 7, None, b"/x"])
    assert len(found()) == 1


def test_the_working_directory_and_relative_paths_count_in_their_place(
    sites: Mapping[str, Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites["first"].install(version="1.0")
    sites["second"].install(version="2.0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["./second/", str(sites["first"].folder)])
    assert [version for *_, version in found()] == ["2.0"]
    monkeypatch.chdir(sites["second"].folder)
    monkeypatch.setattr(sys, "path", ["", str(sites["first"].folder)])
    assert [version for *_, version in found()] == ["2.0"]
    monkeypatch.setattr(sys, "path", [str(sites["first"].folder), ""])
    assert [version for *_, version in found()] == ["1.0"]


def test_an_older_installation_and_one_inside_an_archive_are_read_too(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("mce-old", suffix="egg-info")
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("mce_packed-3.0.dist-info/METADATA", "Name: mce-packed\nVersion: 3.0\n")
        file.writestr("mce_packed-3.0.dist-info/entry_points.txt", LINES)
    monkeypatch.setattr(sys, "path", [str(archive), *sys.path])
    assert [(name, version) for *_, name, version in found()] == [("mce-packed", "3.0"), ("mce-old", "1.0")]


def test_a_finder_of_another_kind_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frozen(importlib.metadata.Distribution):
        def read_text(self, filename: str) -> str | None:
            return {"METADATA": "Name: mce-frozen\nVersion: 4\n", "entry_points.txt": LINES}.get(filename)

        def locate_file(self, path: object) -> Path:
            return Path("nowhere")

    class Finder:
        @staticmethod
        def find_spec(*of: object) -> None: ...

        @staticmethod
        def find_distributions(context: object) -> list[Frozen]:
            return [Frozen()]

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    assert found() == [("thing", "mce_thing:Plugin", "mce-frozen", "4")]


def break_everything(site: Site) -> None:
    """Leave one distribution for each thing that can be wrong, and one that is whole."""
    site.install("mce-whole")
    (site.install("mce-no-metadata", lines=f"[{GROUP}]\nghost = x\n") / "METADATA").unlink()
    site.install("mce-junk", lines=bytes(range(256)) * 9)
    site.install("mce-half", lines=LINES.encode().replace(b"thing", b"th\xffing"))
    (site.install("mce-junk-metadata", lines=f"[{GROUP}]\njunk = x\n") / "METADATA").write_bytes(bytes(range(256)) * 9)
    empty = site.install("mce-empty")
    (empty / "METADATA").write_text("")
    (empty / "entry_points.txt").write_text("")
    for name, make in {"folder": os.mkdir, "pipe": os.mkfifo, "loop": lambda path: os.symlink(path, path)}.items():
        for file in ("METADATA", "entry_points.txt"):
            path = site.install(f"mce-{name}-{file[:3].lower()}", lines=f"[{GROUP}]\n{name} = x\n") / file
            path.unlink()
            make(path)
    (site.install("mce-locked") / "entry_points.txt").chmod(0)
    (site.folder / "mce_file-1.0.dist-info").write_text("no folder")
    (site.folder / "mce_gone-1.0.dist-info").symlink_to("nowhere")
    (site.folder / ".dist-info").mkdir()
    (site.folder / ".egg-info").mkdir()
    site.install("mce-crooked", lines=f"[{GROUP}\nthing\n[{GROUP}]\nc]\n= \n=x\n[]\n", headers=["Requires-Dist"])
    site.install("mce-folded", headers=["Requires-Dist: a\n  >=1"])
    (site.folder / "broken.zip").write_bytes(b"PK\5\6 no archive")


def test_broken_installations_never_raise_and_hide_nobody_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    break_everything(site)
    monkeypatch.setattr(sys, "path", [str(site.folder / "broken.zip"), str(site.folder / "no-such-folder"), *sys.path])
    points = entry_points(GROUP)
    for point in points:
        point.requires_dist()
    assert {(point.name, point.distribution) for point in points} >= {
        ("thing", "mce-whole"),
        ("ghost", ""),
        ("th\ufffding", "mce-half"),
        ("junk", ""),
        ("folder", ""),
        ("pipe", ""),
        ("loop", ""),
        ("c]", "mce-crooked"),
        ("thing", "mce-folded"),
    }


REPORT = f"""
import json, sys
from model_checkpoint.plugins.metadata import entry_points
groups = {GROUP!r}, "model_checkpoint.plugins", "console_scripts"
print(json.dumps([[p.name, p.value, p.distribution, p.version, p.requires_dist()]
                  for group in groups for p in entry_points(group)]))
"""


def test_the_answer_is_the_same_before_after_and_without_the_back_port(tmp_path: Path) -> None:
    sites = [Site(tmp_path / name) for name in ("first", "second")]
    for number, each in enumerate(sites):
        break_everything(each)
        each.install("mce-both", f"{number}.0", f"[{GROUP}]\nboth = x\n", headers=[f"Requires-Dist: a{number}"])
        each.install(f"mce-{number}")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as file:
        file.writestr("mce_packed-3.0.dist-info/METADATA", "Name: mce-packed\nVersion: 3.0\n")
        file.writestr("mce_packed-3.0.dist-info/entry_points.txt", LINES)
    path = os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "packed.zip"), str(tmp_path / "second")])

    def report(before: str, after: str = "") -> object:
        program = f"{before}\n{REPORT}\n{after}"
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    (never,) = report("")
    both = [row for row in never if row[0] == "both"]
    assert both == [["both", "x", "mce-both", "0.0", ["a0"]]]
    assert ["thing", "mce_thing:Plugin", "mce-packed", "3.0", []] in never
    assert len(never) > 20
    assert report("import importlib_metadata") == [never]
    assert report("import importlib.metadata, importlib_metadata; list(importlib.metadata.distributions())") == [never]
    assert report("", f"import importlib_metadata\n{REPORT}") == [never, never]
    assert report("import sys; sys.modules['importlib_metadata'] = None") == [never]
