"""What a reader is shown of the settings: everything but secrets, each with its layer."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from types import MappingProxyType

from model_checkpoint.config import ConfigSources, KernelConfig, Section, load, show


def test_every_setting_has_a_row_with_its_layer_and_when_a_change_applies(folder) -> None:
    project = folder.write("project", '[storage]\nverify = "full"\n[plugins.s3]\nbucket = "x"\n')
    rows = {row.key: row[1:] for row in show(folder.load({"MCE_QUIET": "1", "MCE_ENV": "development"}))}
    assert rows["storage.verify"] == ("full", "project", str(project), "next operation")
    assert rows["quiet"] == ("true", "environment", "MCE_QUIET", "restart")
    assert rows["plugins.s3.bucket"] == ("x", "project", str(project), "as its plugin says")
    assert rows["hooks.strict"] == ("false", "default", "", "next operation")
    assert rows["environment"] == ("development", "environment", "MCE_ENV", "restart")
    assert {"database.url", "storage.checkpoint_dir", "safe_mode", "watch_config"} <= rows.keys()


def test_no_secret_is_shown_whatever_it_stands_in(folder) -> None:
    folder.write(
        "secrets",
        '[database]\nurl = "postgresql://ada:LEAK1@db/x?sslpassword=LEAK2"\n'
        '[plugins.s3]\nsecret_access_key = "LEAK3"\napi-token = "LEAK4"\npin = {password = 12345}\n'
        'urls = ["https://u:LEAK5@h/"]\nusers = [{name = "ada", password = "LEAK6"}]\n'
        'key = "LEAK7"\nreferred_secret = "env:NAME"\nmonkey = "chita"\n[plugins.s3.credentials]\nid = "LEAK8"\n',
    )
    loaded = folder.load()
    rows = {row.key: row.value for row in show(loaded)}
    text = f"{rows} {loaded!r} {loaded.config!r}"
    assert "LEAK" not in text
    assert "12345" not in text
    assert (rows["plugins.s3.monkey"], rows["plugins.s3.referred_secret"]) == (
        "***",
        "env:NAME",
    )  # in .secrets.toml all is


def test_the_snapshot_is_a_value_that_can_be_hashed_copied_and_sent() -> None:
    config = load(ConfigSources(arguments={"plugins.s3.list": [1, {"a": 2}]}, cwd=Path("/x"))).config
    assert pickle.loads(pickle.dumps(config)) == config == copy.deepcopy(config)
    assert hash(config) == hash(copy.deepcopy(config))
    assert isinstance(config.plugins, Section)
    assert not isinstance(config.plugins, dict | MappingProxyType)
    assert config.plugins["s3"]["list"] == (1, {"a": 2})
    assert config != KernelConfig()
