"""Which store a command looks at. Looking creates nothing: where there is no store, one sentence says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.errors import CheckpointNotFoundError
from model_checkpoint.kernel import Kernel

if TYPE_CHECKING:
    from typing import Any

_FILE = re.compile(r"(?:sqlite|tinydb)(?:\+\w+)?://(?:/(?P<path>[^?]*))?(?:\?.*)?")


@dataclass(frozen=True, slots=True)
class Place:
    """What was said on the command line of where to look; what was not said, the settings say."""

    database: str | None = None
    checkpoint_dir: str | None = None

    def prepare(self, **more: Any) -> Kernel:
        """Return a kernel that has read its settings and found its plugins, and opened nothing."""
        return Kernel.prepare(self.database, checkpoint_dir=self.checkpoint_dir, **more)

    def open(self, *, register: Iterable[object] = (), needs_database: bool = True) -> Kernel:
        """Open the store that is there. Raises ``CheckpointNotFoundError`` where there is none.

        Without `needs_database` its folder of checkpoints is enough.
        """
        with self.prepare() as kernel:
            self.check(kernel, needs_database=needs_database)
        return self.create(register=register)

    def create(self, *, register: Iterable[object] = ()) -> Kernel:
        """Open the store, whether it is there already or not."""
        return Kernel.open(self.database, checkpoint_dir=self.checkpoint_dir, register=register, quiet=True)

    def check(self, kernel: Kernel, *, needs_database: bool = True) -> None:
        """Raise ``CheckpointNotFoundError`` where `kernel` would have to create what it is asked to look at."""
        url, folder = kernel.config.database.url, kernel.config.storage.checkpoint_dir
        if not needs_database:
            if not folder.is_dir():
                raise CheckpointNotFoundError(
                    f"no checkpoints are stored here: there is no folder {folder}. Say --checkpoint-dir DIR, or -C DIR"
                )
            return
        file = database_file(url)
        if file is None or file.exists():
            return
        lost = f" Checkpoints are stored in {folder}: 'mce store rebuild' records them anew." if folder.is_dir() else ""
        raise CheckpointNotFoundError(
            f"nothing is recorded here: there is no database {file}.{lost} Say --database URL, or -C DIR for the"
            " folder of the training"
        )


def database_file(url: str) -> Path | None:
    """Return the file that a database URL names, or None where a server or the memory keeps the records.

    >>> database_file("sqlite:////data/runs.db?timeout=5"), database_file("postgresql://db/runs")
    (PosixPath('/data/runs.db'), None)
    """
    found = _FILE.fullmatch(url)
    path = found["path"] if found else None
    if not path or path == ":memory:" or path.startswith("file:"):
        return None
    return Path(path).expanduser().absolute()
