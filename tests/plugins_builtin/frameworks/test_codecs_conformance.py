"""The built-in codecs keep every rule of their kit."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_checkpoint.contracts import CodecDescriptor
from model_checkpoint.frameworks.codecs import register_codecs
from model_checkpoint.testing.codec import CodecTests

CODECS = {codec.name: codec for codec in register_codecs(kernel=None)}


class TestSafetensors(CodecTests):
    @pytest.fixture
    def codec(self) -> CodecDescriptor:
        return CODECS["safetensors"]

    @pytest.fixture
    def target(self, tmp_path: Path) -> Path:
        return tmp_path / "out" / "file.safetensors"


class TestTorch(CodecTests):
    @pytest.fixture
    def codec(self) -> CodecDescriptor:
        return CODECS["torch"]

    @pytest.fixture
    def target(self, tmp_path: Path) -> Path:
        return tmp_path / "out" / "file.pt"


class TestHuggingface(CodecTests):
    @pytest.fixture
    def codec(self) -> CodecDescriptor:
        return CODECS["huggingface"]
