"""The plugin: what it provides, and that the kernel exports and imports through it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mce_zstd.plugin import ZstdConfig, ZstdPlugin, is_mcez

from model_checkpoint.errors import ConfigurationError, IntegrityError
from model_checkpoint.kernel import Kernel


@pytest.mark.parametrize(
    "config",
    [
        ZstdConfig(level=20),
        ZstdConfig(threads=-1),
        ZstdConfig(chunk_nbytes=1),
        ZstdConfig(max_ratio=0),
        ZstdConfig(chunk_nbytes=65537),
    ],
)
def test_a_wrong_configuration_is_refused(config: ZstdConfig) -> None:
    with pytest.raises(ConfigurationError, match="cannot work like this"):
        ZstdPlugin(config)
    with pytest.raises(ConfigurationError, match="cannot work like this"):
        ZstdPlugin().configure(config)


def test_a_file_is_known_by_its_name_or_by_its_first_bytes(tmp_path: Path) -> None:
    (codec,) = ZstdPlugin().register_codecs(kernel=None)
    codec.write({"t": torch.ones(3)}, tmp_path / "weights.bin", metadata={}, max_shard_nbytes=1)
    (tmp_path / "x.mcez").touch()
    (tmp_path / "x.txt").touch()
    assert [is_mcez(tmp_path / name) for name in ("weights.bin", "x.mcez", "x.txt", "absent")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_file_goes_through_the_codec_as_configured(tmp_path: Path) -> None:
    (codec,) = ZstdPlugin(ZstdConfig(level=3, threads=1, chunk_nbytes=64 * 1024)).register_codecs(kernel=None)
    tensor = torch.randn(50_000)
    assert codec.write({"t": tensor}, tmp_path / "x.mcez", metadata={}, max_shard_nbytes=1) == [tmp_path / "x.mcez"]
    assert torch.equal(codec.read(tmp_path / "x.mcez")["t"], tensor)


def test_a_checkpoint_is_exported_and_imported_again(tmp_path: Path) -> None:
    model = torch.nn.Linear(100, 50)
    with Kernel.open(
        f"sqlite:///{tmp_path}/x.db", plugins="builtin", quiet=True, register=[ZstdPlugin()]
    ) as kernel, kernel.run("digits"):  # fmt: skip
        saved = kernel.save({"model": model}, step=1)
        (file,) = kernel.export(saved, tmp_path / "cold.mcez", format="zstd")
        again = kernel.load(kernel.import_checkpoint(file))
    assert torch.equal(again["model"]["weight"], model.weight)


def test_a_damaged_export_is_refused_by_the_kernel(tmp_path: Path) -> None:
    with Kernel.open(
        f"sqlite:///{tmp_path}/x.db", plugins="builtin", quiet=True, register=[ZstdPlugin()]
    ) as kernel, kernel.run("digits"):  # fmt: skip
        saved = kernel.save({"model": torch.nn.Linear(100, 50)}, step=1)
        (file,) = kernel.export(saved, tmp_path / "cold.mcez", format="zstd")
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(IntegrityError):
            kernel.import_checkpoint(file)


def test_importing_the_plugin_imports_neither_torch_nor_zstandard() -> None:
    code = "import sys, mce_zstd.plugin; print(sorted({'torch', 'numpy', 'zstandard'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
