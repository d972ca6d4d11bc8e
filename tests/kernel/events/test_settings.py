"""The events of settings that are read, changed and refused, seen in their public operations: in order, every field."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_log import Log, anything, positive, watcher
from model_checkpoint.errors import ConfigProblems
from model_checkpoint.hooks.contexts import Context
from model_checkpoint.kernel import Kernel

EVENTS = {
    "before_config_load",
    "after_config_load",
    "before_config_update",
    "after_config_update",
    "on_config_validation_error",
}


def test_settings_that_are_read_changed_and_refused(tmp_path: Path) -> None:
    file = tmp_path / "mce.toml"
    file.write_text("[storage]\nverify = 'full'\n")
    seen: list[Context] = []
    log = Log(seen)
    kernel = Kernel.open(
        f"sqlite:///{tmp_path}/e.db", config_file=file, quiet=True, early=[watcher(seen, EVENTS)], register=[]
    )
    try:
        log.take("before_config_load", sources=lambda paths: str(file) in paths, environment="development")
        log.take("after_config_load", config=kernel.config, sources=(str(file),), duration_s=positive)
        before = kernel.config
        assert kernel.settings.update({"storage.verify": "fast", "quiet": False}) is True
        told = {"old": before, "changed_keys": ("quiet", "storage.verify"), "origin": "script"}
        log.take("before_config_update", new=kernel.config, **told)
        log.take("after_config_update", new=kernel.config, needs_restart=("quiet",), **told)
        with pytest.raises(ConfigProblems):
            kernel.settings.update({"storage.verify": "thoroughly"})
        log.take("on_config_validation_error", errors=anything, source="script", kept_generation=1)
        assert log.names() == []
    finally:
        kernel.close()


def test_settings_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    (tmp_path / "mce.toml").write_text("[storage\n")
    seen: list[Context] = []
    log = Log(seen)
    with pytest.raises(ConfigProblems, match=r"mce\.toml"):
        Kernel.open(quiet=True, config_file=tmp_path / "mce.toml", early=[watcher(seen, EVENTS)])
    log.take("before_config_load", sources=anything, environment="development")
    log.take("on_config_validation_error", errors=anything, source="open", kept_generation=0)
    assert log.names() == []
    assert Kernel.open_kernels() == []
