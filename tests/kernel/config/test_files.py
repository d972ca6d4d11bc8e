"""What configuration files may say, and what is said of those that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_checkpoint.errors import ConfigProblems


def test_sections_at_the_top_hold_in_every_environment(folder) -> None:
    folder.write("project", 'quiet = true\n[storage]\nbackend = "memory"\n')
    for environment in ("development", "production"):
        config = folder.load(environment=environment).config
        assert (config.quiet, config.storage.backend, config.environment) == (True, "memory", environment)


def test_the_table_of_the_environment_lies_over_the_default_one_key_by_key(folder) -> None:
    folder.write(
        "project",
        '[default.storage]\nbackend = "memory"\nverify = "full"\n'
        '[production.storage]\nverify = "header"\n[qa.storage]\nverify = "stat"\n',
    )
    verify = {name: folder.load(environment=name).config.storage.verify for name in ("development", "production", "qa")}
    assert verify == {"development": "full", "production": "header", "qa": "stat"}
    assert folder.load(environment="production").config.storage.backend == "memory"


def test_a_misspelt_section_is_not_taken_for_an_environment(folder) -> None:
    folder.write("project", '[storge]\nbackend = "memory"\n')
    with pytest.raises(
        ConfigProblems, match=r"project file .*: storge\.backend is not known; did you mean 'storage.backend'"
    ):
        folder.load()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[storage]\nquiet = true\n", "storage.quiet is not known: 'quiet' stands at the top of the file"),
        ("[database]\nbackend = 'x'\n", "database.backend is not known; did you mean 'storage.backend'?"),
        ("verify = 'full'\n", "verify is not known; did you mean 'storage.verify'?"),
        ("[storge]\nbakend = 'x'\n", "storge.bakend is not known; did you mean 'storage.backend'?"),
        ("[plugin.s3]\nbucket = 'x'\n", "plugin.s3.bucket is not known; did you mean 'plugins.s3.bucket'?"),
        ("[storage]\nzzz = 1\n", "storage.zzz is not known; known: backend, "),
        ("zzz = 1\n", "zzz is not known; known: "),
    ],
)
def test_a_key_that_is_not_known_is_led_to_the_one_that_was_meant(folder, text: str, said: str) -> None:
    folder.write("project", text)
    with pytest.raises(ConfigProblems) as caught:
        folder.load()
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["12345678", "true", "@none", "@int 3", "@format {env[HOME]}", "2026-11-23", "[1]"])
def test_text_stays_text(folder, text: str) -> None:
    folder.write("machine", '[storage]\nbackend = "other"\n')
    folder.write("project", f'[storage]\nbackend = "{text}"\n[plugins.s3]\nbucket = "{text}"\n')
    config = folder.load().config
    assert (config.storage.backend, config.plugins["s3"]["bucket"]) == (text, text)


def test_a_list_of_a_later_file_replaces_the_earlier_one_and_a_table_completes_it(folder) -> None:
    folder.write("machine", 'required_plugins = ["a"]\n[plugins.s3]\nbucket = "x"\nmore = {a = 1}\n')
    folder.write(
        "project", 'required_plugins = ["b"]\n[plugins.s3]\nregion = "eu"\nmore = {b = [2]}\n[plugins.empty]\n'
    )
    config = folder.load().config
    assert config.required_plugins == ("b",)
    assert config.plugins == {
        "s3": {"bucket": "x", "region": "eu", "more": {"a": 1, "b": (2,)}},
        "empty": {},
    }


def test_a_table_gives_way_to_a_value_of_a_later_layer_and_the_other_way_round(folder) -> None:
    folder.write("machine", "[plugins.s3]\na = {x = 1}\nb = 1\n")
    folder.write("project", "[plugins.s3]\na = 2\nb = {y = 2}\n")
    assert folder.load().config.plugins == {"s3": {"a": 2, "b": {"y": 2}}}
    arguments = {"plugins.s3.a.z": 3, "plugins.s3.b": 3}
    assert folder.load(arguments=arguments).config.plugins == {"s3": {"a": {"z": 3}, "b": 3}}


def test_a_plugin_may_have_any_name_and_any_key(folder) -> None:
    folder.write("project", '[plugins."a.b"]\nitems = 1\n"c.d" = 2\nx__y = 3\nKey = 4\n')
    loaded = folder.load()
    assert loaded.config.plugins == {"a.b": {"items": 1, "c.d": 2, "x__y": 3, "Key": 4}}
    assert loaded.origins['plugins."a.b"."c.d"'] == ("project", str(folder.file("project")))


def test_everything_that_is_wrong_is_said_at_once_with_its_place(folder) -> None:
    machine = folder.write("machine", '[hooks]\nstrict = "1"\n')
    project = folder.write("project", 'quiet = 1\nplugins.q = 3\n[storage]\nbakend = "x"\nverify = "deep"\n')
    secrets = folder.write("secrets", b'a = 1\nb = "\xff"\n')
    with pytest.raises(ConfigProblems) as caught:
        folder.load({"MCE_REQUIRED_PLUGINS": "[1", "MCE_QUIET": "maybe"}, arguments={"hooks.strict": None})
    problems = caught.value.problems
    assert problems[:6] == (
        f"machine file {machine}: hooks.strict='1' does not fit: input should be a valid boolean",
        f"project file {project}: quiet=1 does not fit: input should be a valid boolean",
        f"project file {project}: plugins.q=3 is no section: settings of a plugin stand below [plugins.q]",
        f"project file {project}: storage.bakend is not known; did you mean 'storage.backend'?",
        f"project file {project}: storage.verify='deep' is not known: use 'stat', 'header', 'fast', 'full'",
        f"secrets file {secrets} is not UTF-8: line 2 holds the byte 0xff",
    )
    assert problems[6] == "MCE_QUIET='maybe' is neither true nor false: use 1 or 0"
    assert problems[7].startswith("MCE_REQUIRED_PLUGINS='[1' begins like a list in JSON and is none: ")
    assert problems[8:] == ("hooks_strict=None does not fit: input should be a valid boolean",)
    assert "9 problems" in str(caught.value)


def directory(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


BROKEN: dict[str, tuple[str, bytes | Callable[[Path], None]]] = {
    "half a table": (r"is not TOML, or written only in half: .*line 2", b'[storage]\nbackend = "va'),
    "not UTF-8": (r"is not UTF-8: line 1 holds the byte 0xfe", '[storage]\nbackend = "ü"'.encode("utf-16-be")),
    "a key twice": (r"is not TOML.*", b"quiet = true\nquiet = false\n"),
    "ten thousand brackets": (r"is not TOML that can be read", b"a = " + b"[" * 100_000),
    "endless": (r"is larger than 1 MiB", b"# " + b"x" * (1 << 20)),
    "a directory": (r"is not a file", directory),
    "a pipe": (r"is not a file", pipe),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_problem_with_its_path_and_line(folder, name: str) -> None:
    message, content = BROKEN[name]
    if isinstance(content, bytes):
        if name == "not UTF-8":
            content = b"\xfe\xff" + content
        folder.write("project", content)
    else:
        content(folder.file("project"))
    with pytest.raises(ConfigProblems, match=message) as caught:
        folder.load()
    assert len(caught.value.problems) == 1
    assert str(folder.file("project")) in caught.value.problems[0]


def test_an_empty_file_sets_nothing_and_a_byte_order_mark_is_no_part_of_one(folder) -> None:
    folder.write("machine", "")
    folder.write("project", b"\xef\xbb\xbfquiet = true\n")
    loaded = folder.load()
    assert loaded.config.quiet is True
    assert loaded.files == (folder.file("machine"), folder.file("project"))


def test_the_environment_is_not_set_by_a_file_nor_called_like_a_section(folder) -> None:
    folder.write("project", 'environment = "production"\n')
    with pytest.raises(ConfigProblems, match="environment cannot be set here: set MCE_ENV"):
        folder.load()
    with pytest.raises(ConfigProblems, match="MCE_ENV='storage' is the name of a setting"):
        folder.load(environment="storage")
    with pytest.raises(ConfigProblems, match="MCE_ENV='a,b' is no name"):
        folder.load(environment="a,b")


def test_the_digest_follows_the_contents_alone(folder) -> None:
    folder.write("project", "quiet = true\n")
    first = folder.load().digest
    os.utime(folder.file("project"), (1, 1))
    assert folder.load().digest == first
    folder.write("project", "quiet = true \n")
    assert folder.load().digest != first


def test_no_code_beside_a_file_is_run_and_no_variable_of_dynaconf_is_heeded(folder) -> None:
    """Left to read files itself, dynaconf does both."""
    folder.write("project", '[storage]\nbackend = "memory"\n')
    folder.write("secrets", '[storage]\nverify = "full"\n')
    (folder.path / "dynaconf_hooks.py").write_text("raise SystemExit('it was run')\n")
    (folder.path / "foreign.toml").write_text('[default.mce.storage]\nbackend = "foreign"\n')
    program = (
        "from pathlib import Path; from model_checkpoint.config import *;"
        "files = (('project', Path('project.toml')), ('secrets', Path('secrets.toml')));"
        "storage = load(ConfigSources(files)).config.storage; print(storage.backend, storage.verify)"
    )
    environ = {
        **os.environ,
        "SETTINGS_FILE_FOR_DYNACONF": str(folder.path / "foreign.toml"),
        "MERGE_ENABLED_FOR_DYNACONF": "false",
        "ENV_FOR_DYNACONF": "production",
        "DYNACONF_MCE": "@none",
    }
    done = subprocess.run([sys.executable, "-c", program], cwd=folder.path, env=environ, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("memory full\n", "")


def test_without_a_file_no_library_that_reads_one_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from model_checkpoint.config import *;"
        "load(ConfigSources.usual({'MCE_STORAGE_VERIFY': 'full', 'MCE_QUIET': '1', 'MCE_REQUIRED_PLUGINS': 'a,b'}));"
        "load(ConfigSources(arguments={'quiet': True})); check_section(HooksConfig, {}, 'x');"
        "print(sorted({'dynaconf', 'pydantic', 'tomllib', 'watchdog'} & set(sys.modules)))"
    )
    environ = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
