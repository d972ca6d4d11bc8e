"""``export`` and ``import``: tensors leave and come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_checkpoint.cli.failures import Exit

pytest.importorskip("safetensors", reason="missing: safetensors")


def test_an_export_is_a_file_that_is_imported_again(mce_json, store) -> None:
    (file,) = mce_json("export", "latest", "out.safetensors")["files"]
    imported = mce_json("import", file["path"], "--metric", "val_loss=0.5", "--tag", "foreign", "--step", 7)

    assert Path(file["path"]).stat().st_size == file["nbytes"]
    assert (imported["run_name"], imported["step"]) == ("imported-1", 7)
    assert imported["metrics"] == {"val_loss": 0.5}
    assert "foreign" in imported["tags"]


def test_an_import_may_go_to_a_run_that_is_there(mce_json, store) -> None:
    mce_json("export", "latest", "out.safetensors")

    imported = mce_json("import", "out.safetensors", "--experiment", "digits", "--run", "digits-1")
    assert imported["run_name"] == "digits-1"


def test_an_export_replaces_nothing(mce, store) -> None:
    Path("out.safetensors").touch()

    assert mce("export", "latest", "out.safetensors").exit_code == Exit.REFUSED


@pytest.mark.parametrize("metric", ["val_loss", "val_loss=low", "=1"])
def test_a_metric_that_is_none_is_wrong_usage_and_nothing_is_made(metric: str, mce) -> None:
    Path("x.safetensors").touch()
    result = mce("import", "x.safetensors", "--metric", metric)

    assert result.exit_code == Exit.USAGE
    assert not Path("experiments.db").exists()


def test_an_unknown_format_is_wrong_usage_and_the_known_are_listed(mce, store) -> None:
    result = mce("export", "latest", "out", "--format", "onnx")

    assert result.exit_code == Exit.USAGE
    assert "safetensors" in result.stderr
