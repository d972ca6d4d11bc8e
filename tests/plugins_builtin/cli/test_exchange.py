"""``export`` and ``import``: tensors leave and come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_checkpoint.cli.failures import Exit
from model_checkpoint.kernel import Kernel

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


@pytest.mark.parametrize(("name", "detected"), [("out.safetensors", "safetensors"), ("out.pt", "torch"), ("out", None)])
def test_an_export_has_the_format_that_its_name_says(name: str, detected: str | None, mce, store) -> None:
    torch = pytest.importorskip("torch", reason="missing: torch")
    safetensors = pytest.importorskip("safetensors.torch")
    assert mce("export", "latest", name).exit_code == Exit.OK

    read = torch.load if detected == "torch" else safetensors.load_file
    assert "fixed" in read(name)


def test_a_name_that_says_another_format_is_refused(mce, store) -> None:
    result = mce("export", "latest", "out.pt", "--format", "safetensors")

    assert result.exit_code == Exit.USAGE
    assert "out.pt looks like format 'torch', and --format says 'safetensors'" in result.stderr
    assert not Path("out.pt").exists()


def test_a_name_that_several_formats_claim_wants_a_word(run_mce, install, store) -> None:
    code = """
        from model_checkpoint.contracts import CodecDescriptor
        from model_checkpoint.hooks import hookimpl

        @hookimpl
        def register_codecs(kernel):
            return [CodecDescriptor("mine", None, None, lambda path: path.suffix == ".pt")]
        """
    env = {"PYTHONPATH": str(install("mine", code, 'provides = ["codec:mine"]\n'))}
    result = run_mce("export", "latest", "out.pt", env=env)

    assert "out.pt may be of the formats mine, torch: say --format" in result.stderr
    assert run_mce("export", "latest", "out.pt", "--format", "torch", env=env).returncode == Exit.OK


def test_as_the_examples_say_it_what_was_exported_comes_back_as_it_was(mce, mce_json, store) -> None:
    for command, example in (
        ("export", "model.safetensors --object model"),
        ("import", "model.safetensors --object model"),
    ):
        assert example in mce(command, "--help").output
    with Kernel.open("sqlite:///experiments.db", quiet=True) as kernel:
        kernel.start_run("both")
        saved = kernel.save({"model": {"w": np.ones(3)}, "other": {"v": np.ones(3)}})
    mce("export", saved, "model.safetensors", "--object", "model")

    imported = mce_json("import", "model.safetensors", "--object", "model")["id"]
    told = mce_json("diff", saved, imported)
    assert "model.w" in told["same"]
    assert (told["added"], told["removed"]) == ([], ["other.v"])
