"""The plugin: provides the codec ``zstd``, for exports and for reading them back. torch and zstandard are imported when
the first file is written or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mce_zstd.layout import CHUNK_STEP, MAGIC, MAX_CHUNK_NBYTES, MAX_RATIO, MIN_CHUNK_NBYTES
from model_checkpoint.contracts import CodecDescriptor
from model_checkpoint.errors import ConfigurationError
from model_checkpoint.hooks import hookimpl

SUFFIX = ".mcez"


@dataclass(frozen=True, slots=True)
class ZstdConfig:
    """The section ``[plugins.zstd]``. Changes apply to the next file."""

    level: int = 0
    """0 is right for weights: hardly any search for patterns that noise does not have. 1 to 19 are those of zstd."""
    threads: int = 0
    """0 for as many as there are cores, at most 16."""
    chunk_nbytes: int = 8 * 1024 * 1024
    """How much is compressed at once, a multiple of 16; a few of these for each thread are in memory."""
    max_ratio: int = MAX_RATIO
    """A larger file that claims to hold more than this many times its own length is refused, read or written."""


class ZstdPlugin:
    """Provides the codec ``zstd``.

    Args:
        config: what holds where a script registers the plugin itself, whatever the configuration files say.
    """

    Config = ZstdConfig
    name = "zstd"

    def __init__(self, config: ZstdConfig | None = None) -> None:
        self._given = config
        self.configure(config or ZstdConfig())

    def configure(self, config: ZstdConfig) -> None:
        """Take a configuration over. Raises ``ConfigurationError`` that names everything that is wrong with it."""
        config = self._given or config
        limits = {
            "level": (0, 19),
            "threads": (0, 256),
            "chunk_nbytes": (MIN_CHUNK_NBYTES, MAX_CHUNK_NBYTES),
            "max_ratio": (1, 1_000_000),
        }
        problems = [
            f"{name} = {getattr(config, name)!r}: from {low} to {high}"
            for name, (low, high) in limits.items()
            if not low <= getattr(config, name) <= high
        ]
        if config.chunk_nbytes % CHUNK_STEP:
            problems.append(f"chunk_nbytes = {config.chunk_nbytes}: a multiple of {CHUNK_STEP}")
        if problems:
            raise ConfigurationError("the codec zstd cannot work like this:\n  - " + "\n  - ".join(problems))
        self.config = config

    def reconfigure(self, old: ZstdConfig, new: ZstdConfig) -> None:
        """Take a changed configuration over. Raises ``ConfigurationError``."""
        self.configure(new)

    @hookimpl
    def register_codecs(self, kernel: object) -> list[CodecDescriptor]:
        """Provide ``zstd``."""
        return [CodecDescriptor("zstd", self._write, self._read, is_mcez, "one .mcez file, lossless")]

    def _write(
        self, tensors: Mapping[str, object], target: Path, *, metadata: Mapping[str, str], max_shard_nbytes: int
    ) -> list[Path]:
        from mce_zstd.writer import write_file

        config = self.config
        write_file(
            tensors,
            target,
            metadata=metadata,
            level=config.level,
            threads=config.threads,
            chunk_nbytes=config.chunk_nbytes,
            max_ratio=config.max_ratio,
        )
        return [target]

    def _read(self, source: Path) -> dict[str, object]:
        from mce_zstd.reader import read_file

        return read_file(source, threads=self.config.threads, max_ratio=self.config.max_ratio)


def is_mcez(path: Path) -> bool:
    """Say whether a file is of this format, by its name or its first bytes."""
    if not path.is_file():
        return False
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False
