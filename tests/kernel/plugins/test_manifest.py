"""Reading ``plugin.toml``: what it declares, and everything that can be wrong with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.errors import ManifestError, PluginError
from model_checkpoint.plugins.manifest import Manifest, read_manifests

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a ``plugin.toml``."""

    def make(text: str | bytes) -> Path:
        path = tmp_path / "plugin.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def problem(write: Write, lines: str) -> str:
    """Return what is wrong with a table that holds `lines`, without the file and the table."""
    path = write(f"[plugin.s3]\n{lines}")
    good, bad = read_manifests(path)
    assert good == {}
    start = f"{path}: [plugin.s3] "
    assert bad["s3"].startswith(start)
    return bad["s3"].removeprefix(start)


def whole_file(write: Write, text: str | bytes) -> str:
    """Return why a file as a whole cannot be read."""
    path = write(text)
    with pytest.raises(ManifestError) as caught:
        read_manifests(path)
    assert str(caught.value).startswith(str(path))
    assert isinstance(caught.value, PluginError)
    assert isinstance(caught.value, ValueError)
    return str(caught.value).removeprefix(str(path))


def test_everything_that_a_table_declares_is_read(write: Write) -> None:
    path = write("""
        [plugin.s3]
        summary = "Checkpoints in S3"
        kernel-api = ">=1.0,<2"
        provides = ["cloud:s3", "storage:s3"]
        requires = ["sqlite", "mce-x>=1.2", "storage:vault"]
        optional = ["zstd>=1"]
        after = ["audit"]
        conflicts = ["old-s3", "other<2"]
        hooks = ["after_checkpoint_save", "register_cloud_providers"]
        config = "cloud"
        extra = "s3"
        """)
    assert read_manifests(path) == (
        {
            "s3": Manifest(
                summary="Checkpoints in S3",
                kernel_api=">=1.0,<2",
                provides=("cloud:s3", "storage:s3"),
                requires=("sqlite", "mce-x>=1.2", "storage:vault"),
                optional=("zstd>=1",),
                after=("audit",),
                conflicts=("old-s3", "other<2"),
                hooks=("after_checkpoint_save", "register_cloud_providers"),
                config="cloud",
                extra="s3",
            )
        },
        {},
    )


def test_an_empty_table_says_nothing_and_an_empty_file_has_no_plugin(write: Write) -> None:
    assert read_manifests(write("[plugin.s3]")) == ({"s3": Manifest()}, {})
    assert read_manifests(write("")) == ({}, {})


def test_saying_that_there_are_no_hooks_is_not_saying_nothing_of_hooks(write: Write) -> None:
    good, _ = read_manifests(write("[plugin.s3]\nhooks = []\n[plugin.gs]\n"))
    assert good["s3"].hooks == ()
    assert good["gs"].hooks is None


def test_the_mark_that_some_editors_put_before_utf_8_is_no_matter(write: Write) -> None:
    good, _ = read_manifests(write("\ufeff[plugin.s3]\nsummary = 'Zürich'"))
    assert good["s3"].summary == "Zürich"


def test_a_manifest_may_be_a_symbolic_link_as_some_installers_make_them(write: Write, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(write("[plugin.s3]"))
    assert [*read_manifests(link)[0]] == ["s3"]


def test_one_broken_table_takes_down_no_other(write: Write) -> None:
    good, bad = read_manifests(write("[plugin.a]\nhook = []\n[plugin.b]\nextra = 's3'\n[plugin.c]\nhooks = 1"))
    assert [*good] == ["b"]
    assert [*bad] == ["a", "c"]


def test_everything_that_is_wrong_with_a_table_is_told_at_once(write: Write) -> None:
    found = problem(write, "sumary = 'x'\nkernel-api = 'new'\nhooks = 'x'\nrequires = ['a b', 1, 'ok', 'x:y']")
    assert found == (
        "'sumary' is no key that is known; did you mean 'summary'?;"
        " kernel-api: 'new' is no version specifier (PEP 440): write it like '>=1.2,<2';"
        " hooks: is a string, not an array of strings;"
        " requires: 'a b' is no requirement: write name, name>=1.2,<2 or kind:name;"
        " item 2 is an integer, not a string;"
        " 'x:y': there is no kind 'x'"
    )


@pytest.mark.parametrize(("key", "nearest"), [("kernel_api", "kernel-api"), ("require", "requires"), ("hook", "hooks")])
def test_an_unknown_key_gets_the_nearest_known_one(write: Write, key: str, nearest: str) -> None:
    assert problem(write, f"{key} = []") == f"{key!r} is no key that is known; did you mean {nearest!r}?"


def test_a_key_like_no_other_gets_the_list(write: Write) -> None:
    assert problem(write, "zzzz = 1").startswith("'zzzz' is no key that is known; known: after, config, conflicts, ")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", "an integer"),
        ("1.5", "a float"),
        ("true", "a boolean"),
        ("[]", "an array"),
        ("{}", "a table"),
        ("2020-01-01", "a date or time"),
    ],
)
def test_a_wrong_type_is_named_as_toml_calls_it(write: Write, value: str, kind: str) -> None:
    for key in ("summary", "kernel-api", "config", "extra"):
        assert problem(write, f"{key} = {value}") == f"{key}: is {kind}, not a string"


@pytest.mark.parametrize("hook", ["after_checkpoint_saved", "register_cloud_provider"])
def test_an_unknown_hook_gets_the_nearest_one(write: Write, hook: str) -> None:
    found = problem(write, f"hooks = ['{hook}', 'on_system_start']")
    assert found.startswith(f"hooks: {hook!r} is no hook; did you mean '")


@pytest.mark.parametrize(
    "text", ["vault", "storage:", ":vault", "storage:a b", "storage:a>=1", "STORAGE:x", "a" * 9999]
)
def test_a_malformed_capability_is_refused(write: Write, text: str) -> None:
    found = problem(write, f"provides = ['{text}']")
    assert found == f"provides: {text[:80]!r} is no capability: write kind:name, such as storage:vault"


def test_a_capability_of_an_unknown_kind_gets_the_nearest_kind(write: Write) -> None:
    found = problem(write, "provides = ['schema:s3']\nconflicts = ['storag:x']")
    assert found == (
        "provides: 'schema:s3': there is no kind 'schema'; did you mean 'scheme'?;"
        " conflicts: 'storag:x': there is no kind 'storag'; did you mean 'storage'?"
    )


@pytest.mark.parametrize("name", ["", "a b", "../x", "a;b", "a\\nb", "x" * 10_000 + "!"])
def test_a_section_or_an_extra_has_a_plain_name(write: Write, name: str) -> None:
    assert "is no name: use letters, digits" in problem(write, f'extra = "{name}"')
    assert len(problem(write, f'config = "{name}"')) < 300


def test_a_table_under_another_name_is_offered_the_right_one(write: Write) -> None:
    path = write("[plugin.a]\n[plugins.s3]\nsummary = 'x'\n[gs]\nsummary = 'x'")
    assert read_manifests(path) == (
        {"a": Manifest()},
        {
            "s3": f"{path}: the table [plugins.s3] is not known: write [plugin.s3]",
            "gs": f"{path}: the table [gs] is not known: write [plugin.gs]",
        },
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[plugin]\nsummary = 'x'\nhooks = []", ": summary, hooks in [plugin]: write them into [plugin.NAME]"),
        ("plugin = 3", ": 'plugin' is an integer: write one table [plugin.NAME] for each entry point"),
        ("[[plugin]]", ": 'plugin' is an array: write one table [plugin.NAME] for each entry point"),
        ("summary = 'x'\n[plugin.a]", ": 'summary' stands outside the tables"),
        ("[plugin.a\n", " is no TOML: Expected ']' at the end of a table declaration (at line 1"),
        ("[plugin.a]\n[plugin.a]", " is no TOML: Cannot declare ('plugin', 'a') twice (at line 2"),
        (b"[plugin.a]\n# \xff", ": line 2 is not UTF-8: save the file as UTF-8"),
        ("\0", " is no TOML: "),
        ("x = " + "1" * 5000, " is no TOML: "),
        ("x = " + "[" * 100_000, " is no TOML: "),
        (".".join("a" * 5000) + " = 1", ": line 1 has a key of more than 32 parts"),
        ("[plugin.a]\n[" + ".".join("a" * 5000) + "]", ": line 2 has a key of more than 32 parts"),
        ("#" * (1 << 20) + "\n", " is longer than 1048576 bytes"),
    ],
    ids=range(13),
)
def test_a_file_that_cannot_be_read_as_a_whole_raises(write: Write, text: str | bytes, told: str) -> None:
    found = whole_file(write, text)
    assert found.startswith(told)
    assert len(found) < 300


def test_a_plugin_that_is_no_table_fails_alone(write: Write) -> None:
    path = write("[plugin]\ns3 = 3\n[plugin.gs]")
    assert read_manifests(path) == ({"gs": Manifest()}, {"s3": f"{path}: [plugin.s3] is an integer, not a table"})


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path), lambda path: None])
def test_what_is_no_file_raises_and_is_not_waited_for(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "plugin.toml"
    make(path)
    with pytest.raises(ManifestError, match=r"plugin\.toml cannot be read: "):
        read_manifests(path)


def test_a_manifest_of_the_greatest_length_is_read_soon(write: Write) -> None:
    lines = "".join(f"[plugin.p{number}]\nrequires = ['a>=1.{number}']\n" for number in range(25_000))
    good, bad = read_manifests(write(lines[: (1 << 20) - 100].rpartition("[plugin")[0]))
    assert len(good) > 20_000
    assert bad == {}


def test_importing_the_reader_imports_neither_a_toml_parser_nor_what_compares_versions() -> None:
    program = "import sys, model_checkpoint.plugins.manifest, model_checkpoint.plugins.resolution; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"tomllib", "packaging.specifiers", "importlib.metadata"} & set(done.stdout.split())
