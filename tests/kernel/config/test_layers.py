"""Which layer wins, and where a setting says that it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.config import ConfigSources, load
from model_checkpoint.errors import ConfigProblems

FILES = ("machine", "user", "project", "secrets")
ORDER = (*FILES, "environment", "arguments", "enforced")
KEYS = ("storage.backend", "storage.verify", "required_plugins", "plugins.s3.bucket", "plugins.s3.more.deep")
VALUES = {
    "storage.verify": st.sampled_from(["stat", "header", "fast", "full"]),
    "required_plugins": st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
}
WORDS = st.text("abc@-0123456789", min_size=1, max_size=5)
LAYER = st.fixed_dictionaries({}, optional={key: VALUES.get(key, WORDS) for key in KEYS})


def variable(key: str) -> str:
    return "MCE_" + key.upper().replace(".", "__")


def toml(layer: dict[str, object]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in layer.items())


def found(config: object, key: str) -> object:
    for part in key.split("."):
        config = config[part] if hasattr(config, "keys") else getattr(config, part)
    return config


@given(layers=st.fixed_dictionaries({}, optional=dict.fromkeys(ORDER, LAYER)))
def test_the_latest_layer_that_sets_a_key_wins_and_the_key_remembers_it(
    folders, layers: dict[str, dict[str, object]]
) -> None:
    with TemporaryDirectory() as name:
        folder = folders(Path(name))
        for layer in (*FILES, "enforced"):
            if layer in layers:
                folder.write(layer, toml(layers[layer]))
        environ = {
            variable(key): json.dumps(value) if isinstance(value, list) else str(value)
            for key, value in layers.get("environment", {}).items()
        }
        loaded = folder.load(environ, arguments=layers.get("arguments", {}))
    for key in KEYS:
        setting = [(layer, layers[layer][key]) for layer in ORDER if key in layers.get(layer, {})]
        if setting:
            layer, value = setting[-1]
            assert found(loaded.config, key) == (tuple(value) if isinstance(value, list) else value)
            assert loaded.origins[key][0] == layer
        else:
            assert loaded.origins.get(key, ("default", "")) == ("default", "")


def test_the_usual_files_lie_in_the_folders_of_the_machine_the_user_and_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "machine"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    sources = ConfigSources.usual({"MCE_ENV": "Production"}, cwd=tmp_path)
    assert [layer for layer, _ in sources.files] == [*FILES, "enforced"]
    paths = dict(sources.files)
    assert (paths["project"], paths["secrets"]) == (tmp_path / "mce.toml", tmp_path / ".secrets.toml")
    assert paths["machine"] == tmp_path / "machine/model-checkpoint-engine/mce.toml"
    assert tmp_path not in paths["enforced"].parents  # no variable moves it
    assert load(sources).config.environment == "production"


def test_a_file_that_was_asked_for_by_name_must_be_there(tmp_path: Path) -> None:
    for sources in (
        ConfigSources.usual({"MCE_CONFIG": "other.toml"}, cwd=tmp_path),
        ConfigSources.usual({}, config_file=tmp_path / "other.toml", cwd=tmp_path),
    ):
        with pytest.raises(ConfigProblems, match=r"other\.toml is not there, and it was asked for by name"):
            load(sources)
    (tmp_path / "other.toml").write_text("quiet = true\n")
    assert load(ConfigSources.usual({"MCE_CONFIG": "other.toml"}, cwd=tmp_path)).config.quiet is True


def test_a_directory_in_a_file_is_relative_to_the_working_directory_and_else_lies_beside_the_database(
    folder, tmp_path: Path
) -> None:
    folder.write("project", '[storage]\ncheckpoint_dir = "here"\n')
    assert folder.load().config.storage.checkpoint_dir == tmp_path / "here"
    folder.write("project", '[database]\nurl = "sqlite:///runs/e.db"\n')
    assert folder.load().config.storage.checkpoint_dir == tmp_path / "runs/checkpoints"
    folder.write("project", '[storage]\ncheckpoint_dir = "s3://bucket/x"\n')
    with pytest.raises(ConfigProblems, match=r"storage\.checkpoint_dir='s3://bucket/x' is a URL"):
        folder.load()


def test_an_environment_that_no_file_knows_is_mentioned(folder) -> None:
    folder.write("project", "[production.storage]\nverify = 'full'\n")
    (warning,) = folder.load({"MCE_ENV": "prodction"}, "prodction").warnings
    assert warning == "no file has settings for the environment 'prodction' (MCE_ENV); there are production"
    assert folder.load({"MCE_ENV": "Production"}, "Production").warnings == ()
    assert folder.load({}).warnings == ()
