"""The contract of a codec: tensors by name into files of a format that other tools read, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class WriteTensors(Protocol):
    """Writes named tensors."""

    def __call__(
        self, tensors: Mapping[str, object], target: Path, *, metadata: Mapping[str, str], max_shard_nbytes: int
    ) -> list[Path]:
        """Write `tensors`, of whatever framework, to `target`, which does not exist; return the files.

        Raises ``UnstorableStateError`` for what the format cannot hold, OSError.
        """


@dataclass(frozen=True, slots=True)
class CodecDescriptor:
    """What ``register_codecs`` returns for each format."""

    name: str
    write: WriteTensors
    read: Callable[[Path], dict[str, object]]
    """Return the tensors by name. Runs no code that a file brings. Raises ``IntegrityError``, OSError."""
    detects: Callable[[Path], bool]
    """Say whether a file or folder is of this format, by its name and first bytes."""
    summary: str = ""
